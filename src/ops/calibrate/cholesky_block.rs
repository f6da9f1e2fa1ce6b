//! One block of a Cholesky factorization.

use super::BLOCK;
use crate::ops::*;

/// The lower factor of a diagonal block of a positive definite matrix, in place, and the inverse of that factor.
///
/// The block has at most [`BLOCK`] rows. Products of matrices do the rest of the factorization: panels below the block
/// are multiplied with the transposed inverse, and what they explain is subtracted from the matrix to their right.
///
/// Bindings: `a` f32, element (i, j) of the block at `first + i * stride + j`, its upper triangle becomes 0; `inverse`
/// [[`BLOCK`], [`BLOCK`]] f32 from `inverse_first` on, lower triangular, 0 beyond the block.
#[derive(Debug, Clone)]
pub struct CholeskyBlock {
    /// Rows and columns.
    pub n: usize,
    /// Index of the block's first element.
    pub first: usize,
    /// Values from row to row of the matrix.
    pub stride: usize,
    /// Index of the inverse's first element.
    pub inverse_first: usize,
}

params! {
    /// Uniform block of [`CholeskyBlock`].
    pub struct CholeskyBlockParams {
        n: u32,
        first: u32,
        stride: u32,
        inverse_first: u32,
    }
}

impl Op for CholeskyBlock {
    const NAME: &'static str = "cholesky_block";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, calibrate / "cholesky_block")];
    const BINDINGS: &'static [Binding] = &[write("a", Elem::F32), write("inverse", Elem::F32)];
    // chains of 32 roundings, amplified by the condition of the block: below 100 in the cases
    const AGREE: Agree = Agree::Nmse(1e-9);
    type Params = CholeskyBlockParams;

    fn shape(&self) -> String {
        let (n, first, stride) = (self.n, self.first, self.stride);
        format!(
            "n={n},first={first},stride={stride},inverse_first={}",
            self.inverse_first
        )
    }

    fn params(&self) -> CholeskyBlockParams {
        CholeskyBlockParams {
            n: self.n as u32,
            first: self.first as u32,
            stride: self.stride as u32,
            inverse_first: self.inverse_first as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: 1,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let a = self.first + (self.n.max(1) - 1) * self.stride + self.n;
        vec![a, self.inverse_first + BLOCK * BLOCK]
    }

    fn cost(&self) -> Cost {
        let n = self.n as f64;
        Cost {
            bytes: 12.0 * n * n,
            ops: 2.0 / 3.0 * n * n * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (a, inverse): (&mut [f32], &mut [f32]) = (b.write(0), b.write(1));
        let n = self.n;
        let index = |i: usize, j: usize| self.first + i * self.stride + j;
        let mut l = vec![vec![0.0f64; n]; n];
        for i in 0..n {
            for j in 0..=i {
                let explained: f64 = (0..j).map(|k| l[i][k] * l[j][k]).sum();
                let rest = f64::from(a[index(i, j)]) - explained;
                l[i][j] = if i == j { rest.sqrt() } else { rest / l[j][j] };
            }
        }
        let out = &mut inverse[self.inverse_first..][..BLOCK * BLOCK];
        out.fill(0.0);
        for j in 0..n {
            let mut x = vec![0.0f64; n];
            for i in j..n {
                let explained: f64 = (j..i).map(|k| l[i][k] * x[k]).sum();
                let one = if i == j { 1.0 } else { 0.0 };
                x[i] = (one - explained) / l[i][i];
                out[i * BLOCK + j] = x[i] as f32;
            }
        }
        for (i, row) in l.iter().enumerate() {
            for (j, &v) in row.iter().enumerate() {
                a[index(i, j)] = v as f32;
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |n: usize, first: usize, stride: usize, inverse_first: usize| {
            let op = Self {
                n,
                first,
                stride,
                inverse_first,
            };
            let lengths = op.lengths();
            let mut a = noise(161, lengths[0], 1.0);
            let half = noise(162, n * 2 * n, 1.0);
            for i in 0..n {
                for j in 0..n {
                    let dot: f32 = (0..2 * n)
                        .map(|k| half[i * 2 * n + k] * half[j * 2 * n + k])
                        .sum();
                    a[first + i * stride + j] = dot / n as f32 + if i == j { 0.1 } else { 0.0 };
                }
            }
            let inverse = noise(163, lengths[1], 1.0);
            Case::new("", op, vec![Data::f32(&a), Data::f32(&inverse)])
        };
        vec![
            case(1, 0, 1, 0),
            // a whole block in the middle of a matrix
            case(BLOCK, 77, 70, 1024),
            // what is left of a matrix
            case(20, 5, 41, 0),
        ]
    }
}
