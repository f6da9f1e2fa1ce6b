//! A real weight in its widely-linear form, in host memory.

use super::parallel::map_rows_mut;
use crate::ops::quantize::{indices, merge, split};

/// A complex number as (re, im).
pub(super) type Complex = [f32; 2];

/// U and W of a real weight R, or what stages of quantizing have left of them.
#[derive(Debug, Clone)]
pub(super) struct Planes {
    /// Rows of R.
    pub out_features: usize,
    /// Columns of R.
    pub in_features: usize,
    /// [n, 2 (U, W), m] for n = ceil(out / 2), m = ceil(in / 2).
    values: Vec<Complex>,
}

impl Planes {
    /// The widely-linear form of the row-major `[out_features, in_features]` weight `r`, odd dimensions padded with
    /// zeros.
    pub(super) fn new(r: &[f32], out_features: usize, in_features: usize) -> Self {
        let (n, m) = (out_features.div_ceil(2), in_features.div_ceil(2));
        let mut values = vec![[0.0; 2]; 2 * n * m];
        map_rows_mut(&mut values, 2 * m, |first, rows| {
            for (i, row) in rows.chunks_exact_mut(2 * m).enumerate() {
                let (u, w) = row.split_at_mut(m);
                for (column, (u, w)) in u.iter_mut().zip(w).enumerate() {
                    let places = indices(out_features, in_features, first + i, column);
                    let parts = split(places.map(|place| place.map_or(0.0, |p| r[p])));
                    (*u, *w) = ([parts[0], parts[1]], [parts[2], parts[3]]);
                }
            }
        });
        Self {
            out_features,
            in_features,
            values,
        }
    }

    /// Complex rows.
    pub(super) fn rows(&self) -> usize {
        self.out_features.div_ceil(2)
    }

    /// Complex columns.
    pub(super) fn columns(&self) -> usize {
        self.in_features.div_ceil(2)
    }

    /// U and W of complex row `row`.
    pub(super) fn row(&self, row: usize) -> [&[Complex]; 2] {
        let m = self.columns();
        let (u, w) = self.values[2 * row * m..2 * (row + 1) * m].split_at(m);
        [u, w]
    }

    /// All of it, row by row, to be changed in place.
    pub(super) fn values_mut(&mut self) -> &mut [Complex] {
        &mut self.values
    }

    /// Which real weights are there and not padding, for those behind complex row `row`.
    pub(super) fn edge(&self, row: usize) -> Edge {
        Edge {
            below: row + self.rows() < self.out_features,
            columns: self.in_features / 2,
        }
    }
}

/// How far a complex row reaches into R.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    /// Whether the lower real row exists.
    below: bool,
    /// Complex columns whose right real column exists.
    columns: usize,
}

impl Edge {
    /// Sum of squares of the real weights that `u` and `w`, of complex column `column`, stand for; padding is left out.
    pub(super) fn square(self, column: usize, u: Complex, w: Complex) -> f64 {
        if self.below && column < self.columns {
            let sum = |z: Complex| f64::from(z[0]).powi(2) + f64::from(z[1]).powi(2);
            return 2.0 * (sum(u) + sum(w)); // merging keeps angles and doubles squares
        }
        let there = [
            true,
            column < self.columns,
            self.below,
            self.below && column < self.columns,
        ];
        let merged = merge([u[0], u[1], w[0], w[1]]);
        let counted = there.into_iter().zip(merged).filter(|(there, _)| *there);
        counted.map(|(_, x)| f64::from(x) * f64::from(x)).sum()
    }
}
