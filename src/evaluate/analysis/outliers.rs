//! How unevenly the magnitude of a weight is spread.

use super::parallel::map_rows;
use serde::Serialize;

/// What stands out in a weight R.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Outliers {
    /// Largest `|R|`.
    pub largest: f64,
    /// The same over the root mean square; none for a weight of zeros, as all below.
    pub largest_over_rms: Option<f64>,
    /// Fourth moment over the square of the second one, about zero: 3 for a normal distribution, 1.8 for a uniform one.
    pub kurtosis: Option<f64>,
    /// Share of the sum of squares that the heaviest hundredth (at least one) of the columns (inputs) has.
    pub top_columns: Option<f64>,
    /// The same of the rows (outputs).
    pub top_rows: Option<f64>,
}

struct Sums {
    largest: f32,
    power: f64,
    fourth: f64,
    rows: Vec<f64>,
    columns: Vec<f64>,
}

/// The outliers of the row-major weight `r` of rows of `columns`, and the sum of its squares.
pub(super) fn outliers(r: &[f32], columns: usize) -> (Outliers, f64) {
    let chunks = map_rows(r.len() / columns, columns, |rows| {
        let mut sums = Sums {
            largest: 0.0,
            power: 0.0,
            fourth: 0.0,
            rows: Vec::with_capacity(rows.len()),
            columns: vec![0.0; columns],
        };
        for row in r[rows.start * columns..rows.end * columns].chunks_exact(columns) {
            let mut power = 0.0;
            for (&x, column) in row.iter().zip(&mut sums.columns) {
                let square = f64::from(x) * f64::from(x);
                sums.largest = sums.largest.max(x.abs());
                power += square;
                sums.fourth += square * square;
                *column += square;
            }
            sums.power += power;
            sums.rows.push(power);
        }
        sums
    });
    let (mut largest, mut power, mut fourth) = (0f32, 0.0, 0.0);
    let (mut by_row, mut by_column) = (Vec::new(), vec![0.0; columns]);
    for chunk in chunks {
        largest = largest.max(chunk.largest);
        power += chunk.power;
        fourth += chunk.fourth;
        by_row.extend(chunk.rows);
        for (sum, column) in by_column.iter_mut().zip(chunk.columns) {
            *sum += column;
        }
    }
    let count = r.len() as f64;
    let there = |x: f64| (power > 0.0 && x.is_finite()).then_some(x);
    let outliers = Outliers {
        largest: largest.into(),
        largest_over_rms: there(f64::from(largest) / (power / count).sqrt()),
        kurtosis: there(count * fourth / (power * power)),
        top_columns: there(top_share(by_column)),
        top_rows: there(top_share(by_row)),
    };
    (outliers, power)
}

/// Share of the largest hundredth (at least one) of `parts` in their sum.
pub(super) fn top_share(mut parts: Vec<f64>) -> f64 {
    parts.sort_by(|a, b| b.total_cmp(a));
    let top = parts.len().div_ceil(100);
    parts[..top].iter().sum::<f64>() / parts.iter().sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_column_that_stands_out_is_seen() {
        let (rows, columns) = (40, 100);
        let mut r = vec![1.0; rows * columns];
        r.iter_mut().step_by(columns).for_each(|x| *x = -10.0);
        let (found, power) = outliers(&r, columns);
        assert_eq!(power, (rows * (99 + 100)) as f64);
        assert_eq!(found.largest, 10.0);
        let close = |a: Option<f64>, b: f64| assert!((a.expect("not zero") - b).abs() < 1e-12);
        close(found.largest_over_rms, 10.0 / 1.99f64.sqrt());
        close(found.kurtosis, (99.0 + 1e4) / 100.0 / (1.99 * 1.99));
        close(found.top_columns, 100.0 / 199.0);
        close(found.top_rows, 1.0 / 40.0);
    }

    #[test]
    fn zeros_have_none() {
        let (found, power) = outliers(&[0.0; 6], 3);
        assert_eq!((power, found.kurtosis, found.top_rows), (0.0, None, None));
    }
}
