//! Rotations that spread outliers: a Walsh-Hadamard transform of blocks of columns, with random signs.

use crate::ops::bench::{HIDDEN, PROMPT};
use crate::ops::*;

/// Values that a workgroup transforms, and the largest block.
const SPAN: usize = 1024;
/// Seed of the signs.
const SEED: u32 = 0x6864_6D64;

/// Rotates the rows of a matrix: `y = H D x`, or back, `y = D H x`. D has a sign for each column, H is the orthonormal
/// Walsh-Hadamard matrix of each block of columns (QuIP#, arXiv 2402.04396, QuaRot, arXiv 2404.00456). The widely-linear
/// form pairs column j with column j + width / 2: blocks lie within a half, and both halves are rotated alike, so that
/// complex columns are rotated as complex columns. Norms, and what comes before them, stay as they are.
///
/// A block is the largest power of two that divides half of the width, at most 1024; of an odd half it is one column, and
/// only signs change. Sums are made in the order of the fast transform everywhere: the bits are the same.
///
/// Bindings: `x`, `y` [rows, width] f32.
#[derive(Debug, Clone)]
pub struct Hadamard {
    /// Tokens, or rows of a weight.
    pub rows: usize,
    /// Values of a row.
    pub width: usize,
    /// The other way around: `y = D H x`.
    pub inverse: bool,
}

params! {
    /// Uniform block of [`Hadamard`].
    pub struct HadamardParams {
        len: u32,
        width: u32,
        half: u32,
        block: u32,
        scale: f32,
        inverse: u32,
    }
}

impl Hadamard {
    /// Columns that are mixed with each other.
    pub fn block(&self) -> usize {
        match self.width % 2 {
            0 if self.width > 0 => (1 << (self.width / 2).trailing_zeros()).min(SPAN),
            _ => 1,
        }
    }

    /// What the sums are multiplied by.
    fn scale(&self) -> f32 {
        (1.0 / (self.block() as f64).sqrt()) as f32
    }

    /// The sign of a column.
    fn sign(&self, column: usize) -> f32 {
        let half = self.width.div_ceil(2);
        let odd = hash32((column % half) as u32, SEED) & 1 == 1;
        if odd { -1.0 } else { 1.0 }
    }

    /// Rotates one row in place.
    fn row(&self, row: &mut [f32], signs: &[f32]) {
        let flip = |row: &mut [f32]| row.iter_mut().zip(signs).for_each(|(v, s)| *v *= s);
        if !self.inverse {
            flip(row);
        }
        let scale = self.scale();
        for block in row.chunks_exact_mut(self.block()) {
            let mut step = 1;
            while step < block.len() {
                for pairs in block.chunks_exact_mut(2 * step) {
                    let (first, second) = pairs.split_at_mut(step);
                    for (a, b) in first.iter_mut().zip(second) {
                        (*a, *b) = (*a + *b, *a - *b);
                    }
                }
                step *= 2;
            }
            block.iter_mut().for_each(|v| *v *= scale);
        }
        if self.inverse {
            flip(row);
        }
    }

    /// Rotates rows on the host, in place: they follow one another in `values`.
    pub fn apply(&self, values: &mut [f32]) {
        let signs: Vec<f32> = (0..self.width).map(|c| self.sign(c)).collect();
        let rows = values[..self.rows * self.width].chunks_exact_mut(self.width);
        let work = self.width * (2 + self.block().ilog2() as usize);
        crate::ops::cpu::each_worth(rows.collect(), work, |row| self.row(row, &signs));
    }
}

impl Op for Hadamard {
    const NAME: &'static str = "hadamard";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, quantize / "hadamard", "hash")];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::F32), write("y", Elem::F32)];
    // sums of two in one order everywhere, and one product
    const AGREE: Agree = Agree::Bits;
    type Params = HadamardParams;

    fn shape(&self) -> String {
        let shape = format!("rows={},k={}", self.rows, self.width);
        if self.inverse {
            shape + ",inverse=1"
        } else {
            shape
        }
    }

    fn params(&self) -> HadamardParams {
        HadamardParams {
            len: (self.rows * self.width) as u32,
            width: self.width as u32,
            half: self.width.div_ceil(2) as u32,
            block: self.block() as u32,
            scale: self.scale(),
            inverse: self.inverse.into(),
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.rows * self.width).div_ceil(SPAN) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.rows * self.width; 2]
    }

    fn cost(&self) -> Cost {
        let n = (self.rows * self.width) as f64;
        Cost {
            bytes: 8.0 * n,
            ops: n * (2.0 + f64::from(self.block().ilog2())),
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, y): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let n = self.rows * self.width;
        y[..n].copy_from_slice(&x[..n]);
        self.apply(y);
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |[rows, width]: [usize; 2], inverse| {
            let op = Self {
                rows,
                width,
                inverse,
            };
            let n = rows * width;
            Case::new("", op, vec![Data::f32(&noise(31, n, 3.0)), Data::Out(n)])
        };
        vec![
            // blocks of 32, of 256, and one for half of a row
            case([3, 576], false),
            case([2, 1536], true),
            case([5, 2048], false),
            // half of a row is more than the largest block
            case([2, 8192], true),
            // an odd half, and an odd width: only signs change
            case([4, 6], false),
            case([3, 5], true),
            // blocks of two that share a workgroup
            case([700, 4], false),
        ]
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        let each = |rows| {
            let op = Self {
                rows,
                width: HIDDEN,
                inverse: false,
            };
            bench::case("", op, &[Made::Floats, Made::Zeros])
        };
        [1, PROMPT].map(each).into()
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    fn rotated(x: &[f32], inverse: bool) -> Vec<f32> {
        let mut y = x.to_vec();
        let op = Hadamard {
            rows: 1,
            width: x.len(),
            inverse,
        };
        op.apply(&mut y);
        y
    }

    #[test]
    fn the_inverse_undoes_the_rotation() {
        let x = noise(1, 96, 1.0);
        let length = |x: &[f32]| x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        let y = rotated(&x, false);
        assert!((length(&x) - length(&y)).abs() < 1e-5 * length(&x));
        let again = rotated(&y, true);
        assert!(x.iter().zip(&again).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn an_outlier_is_spread_over_its_block() {
        let mut x = vec![0.0; 64];
        x[3] = 8.0;
        let y = rotated(&x, false);
        assert!(y[..32].iter().all(|v| (v.abs() - 2f32.sqrt()).abs() < 1e-6));
        assert!(y[32..].iter().all(|&v| v == 0.0));
    }

    #[test]
    fn both_halves_are_rotated_alike() {
        let x = noise(2, 24, 1.0);
        let swapped: Vec<f32> = x[12..].iter().chain(&x[..12]).copied().collect();
        let (y, z) = (rotated(&x, false), rotated(&swapped, false));
        assert_eq!((&y[..12], &y[12..]), (&z[12..], &z[..12]));
    }
}
