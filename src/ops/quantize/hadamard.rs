//! Rotations that spread outliers: a Walsh-Hadamard transform of blocks of columns, with random signs.

use crate::ops::data::hash32;
use crate::ops::*;
use bytemuck::Zeroable;

/// Values that a workgroup transforms, and the largest block.
const SPAN: usize = 1024;
/// Seed of the signs.
const SEED: u32 = 0x6864_6D64;

/// Turns the rows of a matrix: `y = H D x`, or back, `y = D H x`. D has a sign for each column, H is the orthonormal
/// Walsh-Hadamard matrix of each block of columns (QuIP#, arXiv 2402.04396, QuaRot, arXiv 2404.00456). The widely-linear
/// form pairs column j with column j + width / 2: blocks lie within a half, and both halves are turned alike, so that
/// complex columns are turned as complex columns. Norms, and what is before them, stay as they are.
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
    /// The other way around.
    pub back: bool,
}

/// Uniform block of [`Hadamard`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct HadamardParams {
    len: u32,
    width: u32,
    half: u32,
    block: u32,
    scale: f32,
    back: u32,
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

    /// Turns one row in place.
    fn row(&self, row: &mut [f32], signs: &[f32]) {
        let flip = |row: &mut [f32]| row.iter_mut().zip(signs).for_each(|(v, s)| *v *= s);
        if !self.back {
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
        if self.back {
            flip(row);
        }
    }

    /// Turns rows on the host, in place: `values` has them one after the other.
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

    fn params(&self) -> HadamardParams {
        HadamardParams {
            len: (self.rows * self.width) as u32,
            width: self.width as u32,
            half: self.width.div_ceil(2) as u32,
            block: self.block() as u32,
            scale: self.scale(),
            back: self.back.into(),
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
        let case = |name: &str, rows, width, back| {
            let op = Self { rows, width, back };
            let n = rows * width;
            let data = vec![Data::f32(&noise(31, n, 3.0)), Data::Out(n)];
            Case::new(name, op, data)
        };
        vec![
            case("blocks of 32 in halves of 288", 3, 576, false),
            case("blocks of 256, back", 2, 1536, true),
            case("a block for half of a row", 5, 2048, false),
            case(
                "half of a row is more than the largest block",
                2,
                8192,
                true,
            ),
            case("an odd half: signs", 4, 6, false),
            case("an odd width: signs", 3, 5, true),
            case("blocks of two that share a workgroup", 700, 4, false),
        ]
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::hadamard()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(x: &[f32], back: bool) -> Vec<f32> {
        let mut y = x.to_vec();
        let op = Hadamard {
            rows: 1,
            width: x.len(),
            back,
        };
        op.apply(&mut y);
        y
    }

    #[test]
    fn it_turns_and_turns_back() {
        let x = noise(1, 96, 1.0);
        let length = |x: &[f32]| x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        let y = turned(&x, false);
        assert!((length(&x) - length(&y)).abs() < 1e-5 * length(&x));
        let again = turned(&y, true);
        assert!(x.iter().zip(&again).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn an_outlier_is_spread_over_its_block() {
        let mut x = vec![0.0; 64];
        x[3] = 8.0;
        let y = turned(&x, false);
        assert!(y[..32].iter().all(|v| (v.abs() - 2f32.sqrt()).abs() < 1e-6));
        assert!(y[32..].iter().all(|&v| v == 0.0));
    }

    #[test]
    fn both_halves_are_turned_alike() {
        let x = noise(2, 24, 1.0);
        let swapped: Vec<f32> = x[12..].iter().chain(&x[..12]).copied().collect();
        let (y, z) = (turned(&x, false), turned(&swapped, false));
        assert_eq!((&y[..12], &y[12..]), (&z[12..], &z[..12]));
    }
}
