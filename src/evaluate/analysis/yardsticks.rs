//! Other codebooks under the same rule, to see what the one that is used is worth.
//!
//! All codebooks here are K directions, evenly spaced on the circle. A weight takes the direction that is nearest to
//! its angle. Directions that are opposite to each other share one scale (a *line*): the mean of the projections of the
//! weights that took either of them, at least 1e-6. For the four directions 1, i, -1, -i this is exactly the rule of the
//! phase quantizer, with its two scales s_re and s_im. Stages work on what the stages before have left; U and W are
//! quantized apart, with scales per tensor.
//!
//! - `rotated by pi/4`: four directions between the axes, two lines: 1 bit a stage for a real weight.
//! - `eight phases`: both of them together, four lines: 1.5 bits a stage for a real weight.

use super::parallel::map_rows_mut;
use super::planes::{Complex, Planes};
use crate::codebook;
use crate::ops::quantize::{LEAST_SCALE, MAX_STAGES};
use serde::Serialize;
use std::f32::consts::FRAC_1_SQRT_2;

/// A codebook that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codebook {
    /// (1 + i) / sqrt 2 times 1, i, -1, -i.
    Rotated,
    /// Multiples of pi/4.
    Eight,
}

/// What another codebook would cost and leave.
///
/// A codebook is K directions, evenly spaced on the circle; a weight takes the direction nearest to its angle. Opposite
/// directions share one scale: the mean of the projections of the weights that took either of them, at least 1e-6. For 1,
/// i, -1, -i this is the rule of the phase quantizer. Scales are per tensor and stage, of U and W apart. `rotated by pi/4`
/// has the four directions between the axes (2 bits a code), `eight phases` those and the axes (3 bits a code).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Yardstick {
    /// `rotated by pi/4` or `eight phases`.
    pub codebook: &'static str,
    /// Bits of a real weight at T = 1 to 4: codes with the padding of odd dimensions but without that of packed words,
    /// and the scales.
    pub bits_per_weight: [f64; MAX_STAGES],
    /// `|R - R_q| / |R|` after stage T = 1 to 4; none for a weight of zeros.
    pub relative_error: Option<[f64; MAX_STAGES]>,
}

/// Most lines of a codebook.
const LINES: usize = 4;
/// Tangent of pi/8: half of a sector of eight.
const TANGENT: f32 = 0.414_213_57;

impl Codebook {
    fn name(self) -> &'static str {
        match self {
            Self::Rotated => "rotated by pi/4",
            Self::Eight => "eight phases",
        }
    }

    /// Bits of a code, and how many lines there are.
    fn sizes(self) -> (usize, usize) {
        match self {
            Self::Rotated => (2, 2),
            Self::Eight => (3, 4),
        }
    }

    /// The direction nearest to `z`, and its line.
    fn nearest(self, [re, im]: Complex) -> (Complex, usize) {
        let on_axis = || {
            let k = codebook::code(re, im);
            let (x, y) = codebook::unit(k);
            ([x as f32, y as f32], usize::from(k & 1))
        };
        let diagonal = || {
            // the code of z turned back by pi/4, whose direction is turned forth again
            let k = codebook::code(re + im, im - re);
            let (x, y) = codebook::unit(k);
            let direction = [(x - y) as f32, (x + y) as f32].map(|c| c * FRAC_1_SQRT_2);
            (direction, usize::from(k & 1))
        };
        let (low, high) = (re.abs().min(im.abs()), re.abs().max(im.abs()));
        match self {
            Self::Rotated => diagonal(),
            Self::Eight if low <= TANGENT * high => on_axis(),
            Self::Eight => {
                let (direction, line) = diagonal();
                (direction, 2 + line)
            }
        }
    }
}

/// Sums of projections and numbers of weights, by plane and line.
type Sums = [[(f64, u64); LINES]; 2];
type Scales = [[f32; LINES]; 2];

/// Quantizes `planes` with `codebook` in four stages; `power` is `|R|^2`.
pub(super) fn yardstick(mut planes: Planes, power: f64, codebook: Codebook) -> Yardstick {
    let (bits, lines) = codebook.sizes();
    let complex = 2 * planes.rows() * planes.columns();
    let reals = (planes.out_features * planes.in_features) as f64;
    let stored = |stages: usize| (stages * (complex * bits + 2 * 32 * lines)) as f64 / reals;
    let mut left = [0.0; MAX_STAGES];
    let (mut sums, _) = sweep(&mut planes, codebook, None);
    for left in &mut left {
        (sums, *left) = sweep(&mut planes, codebook, Some(scales(&sums)));
    }
    Yardstick {
        codebook: codebook.name(),
        bits_per_weight: std::array::from_fn(|t| stored(t + 1)),
        relative_error: (power > 0.0).then(|| left.map(|square| (square / power).sqrt())),
    }
}

/// Means of projections.
fn scales(sums: &Sums) -> Scales {
    let mean = |(sum, count): (f64, u64)| (sum / count.max(1) as f64) as f32;
    sums.map(|plane| plane.map(|line| mean(line).max(LEAST_SCALE)))
}

/// Takes the stage with these scales away from `planes`; returns what the next stage's scales are the means of, and
/// the square of what is left.
fn sweep(planes: &mut Planes, codebook: Codebook, scales: Option<Scales>) -> (Sums, f64) {
    let columns = planes.columns();
    let edges: Vec<_> = (0..planes.rows()).map(|row| planes.edge(row)).collect();
    let chunks = map_rows_mut(planes.values_mut(), 2 * columns, |first, rows| {
        let (mut sums, mut square) = (Sums::default(), 0.0);
        for (i, row) in rows.chunks_exact_mut(2 * columns).enumerate() {
            for (plane, values) in row.chunks_exact_mut(columns).enumerate() {
                for z in values {
                    if let Some(scales) = &scales {
                        let (direction, line) = codebook.nearest(*z);
                        z[0] -= direction[0] * scales[plane][line];
                        z[1] -= direction[1] * scales[plane][line];
                    }
                    let (direction, line) = codebook.nearest(*z);
                    let sum = &mut sums[plane][line];
                    sum.0 += f64::from(z[0] * direction[0] + z[1] * direction[1]);
                    sum.1 += 1;
                }
            }
            let (u, w) = row.split_at(columns);
            for (column, (&u, &w)) in u.iter().zip(w).enumerate() {
                square += edges[first + i].square(column, u, w);
            }
        }
        (sums, square)
    });
    let (mut sums, mut square) = (Sums::default(), 0.0);
    for (chunk, part) in chunks {
        square += part;
        let lines = chunk.as_flattened().iter();
        for (sum, line) in sums.as_flattened_mut().iter_mut().zip(lines) {
            *sum = (sum.0 + line.0, sum.1 + line.1);
        }
    }
    (sums, square)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::noise;
    use crate::ops::quantize as widely_linear;

    /// The same by brute force in f64: every direction is tried, every scale is a plain mean, R_q is merged and
    /// compared with R itself.
    fn by_brute_force(r: &[f32], out: usize, inputs: usize, angles: &[f64]) -> [f64; MAX_STAGES] {
        let (n, m) = (out.div_ceil(2), inputs.div_ceil(2));
        let mut left: [Vec<[f64; 2]>; 2] = Default::default();
        for i in 0..n * m {
            let places = widely_linear::indices(out, inputs, i / m, i % m);
            let z = widely_linear::split(places.map(|p| p.map_or(0.0, |p| r[p]))).map(f64::from);
            left[0].push([z[0], z[1]]);
            left[1].push([z[2], z[3]]);
        }
        let half = angles.len() / 2;
        let power: f64 = r.iter().map(|&x| f64::from(x).powi(2)).sum();
        std::array::from_fn(|_| {
            for plane in &mut left {
                let chosen: Vec<_> = plane.iter().map(|z| choice(z, angles)).collect();
                let scale = |line: usize| {
                    let of_line = chosen.iter().filter(|(k, _)| k % half == line);
                    let (sum, count) = of_line.fold((0.0, 0), |(s, n), (_, p)| (s + p, n + 1));
                    f64::max(sum / f64::from(count.max(1)), 1e-6)
                };
                let scales: Vec<f64> = (0..half).map(scale).collect();
                for (z, (k, _)) in plane.iter_mut().zip(&chosen) {
                    z[0] -= angles[*k].cos() * scales[k % half];
                    z[1] -= angles[*k].sin() * scales[k % half];
                }
            }
            let mut square = 0.0;
            for (i, ([a, b], [c, d])) in left[0].iter().zip(&left[1]).enumerate() {
                let merged = [a + c, d - b, d + b, a - c];
                for (place, x) in widely_linear::indices(out, inputs, i / m, i % m)
                    .iter()
                    .zip(merged)
                {
                    square += place.map_or(0.0, |_| x * x);
                }
            }
            (square / power).sqrt()
        })
    }

    /// The direction with the largest projection, and that projection.
    fn choice(z: &[f64; 2], angles: &[f64]) -> (usize, f64) {
        let projection = |a: &f64| z[0] * a.cos() + z[1] * a.sin();
        let all = angles.iter().map(projection).enumerate();
        all.max_by(|a, b| a.1.total_cmp(&b.1)).expect("some angle")
    }

    #[test]
    fn both_codebooks_are_those_of_brute_force() {
        use std::f64::consts::FRAC_PI_4;
        let angles = |count: usize, first: f64, step: f64| -> Vec<f64> {
            (0..count)
                .map(|k| FRAC_PI_4 * (first + step * k as f64))
                .collect()
        };
        // Not both odd: the weight in the corner lies exactly between two directions of the turned codebook. Not
        // tiny: a direction that one weight takes leaves nothing but the rounding of that weight.
        for (out, inputs) in [(8, 12), (33, 50), (32, 51)] {
            let r = noise(3, out * inputs, 0.05);
            let power = r.iter().map(|&x| f64::from(x).powi(2)).sum();
            for (codebook, angles) in [
                (Codebook::Rotated, angles(4, 1.0, 2.0)),
                (Codebook::Eight, angles(8, 0.0, 1.0)),
            ] {
                let planes = Planes::new(&r, out, inputs);
                let ours = yardstick(planes, power, codebook).relative_error;
                let theirs = by_brute_force(&r, out, inputs, &angles);
                for (a, b) in ours.expect("not zero").into_iter().zip(theirs) {
                    assert!(
                        (a - b).abs() < 1e-5,
                        "{codebook:?} {out} x {inputs}: {a} {b}"
                    );
                }
            }
        }
    }

    #[test]
    fn bits_are_those_of_codes_and_scales() {
        let planes = Planes::new(&noise(1, 64 * 32, 1.0), 64, 32);
        let bits = |codebook| yardstick(planes.clone(), 1.0, codebook).bits_per_weight;
        assert_eq!(bits(Codebook::Rotated)[0], 1.0 + 2.0 * 2.0 * 32.0 / 2048.0);
        assert_eq!(
            bits(Codebook::Eight)[1],
            2.0 * (1.5 + 2.0 * 4.0 * 32.0 / 2048.0)
        );
    }
}
