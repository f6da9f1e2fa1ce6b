//! The shape of a product with a dense matrix, its meaning and how the host computes it.

use crate::ops::*;

/// `y[token, out_offset + o] (+)= sum_k x[token, k] w[o, k]`: shape of a product, or of one shard of it.
///
/// Bindings of the ops: `x` [tokens, k] f32; `w` [outs, dtype.row_words(k)] u32 (see [`MatrixDtype`]; the padding
/// of a row is zero); `y` [tokens, y_stride] f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dense {
    /// Rows of the matrix, or of this shard.
    pub outs: usize,
    /// Vectors.
    pub tokens: usize,
    /// Columns of the matrix.
    pub k: usize,
    /// Index of the shard's first output in a token of `y`.
    pub out_offset: usize,
    /// Values from token to token of `y`.
    pub y_stride: usize,
    /// Element type of the matrix.
    pub dtype: MatrixDtype,
    /// Add to `y` (a residual) instead of overwriting it.
    pub accumulate: bool,
}

/// Outputs that a thread of the host computes at once.
const OUTS_PER_THREAD: usize = 16;
/// From this many tokens on a thread takes twice as many outputs, since all tokens pass through its cache once for each
/// block of outputs.
const MANY_TOKENS: usize = 64;

impl Dense {
    /// Bindings of the products in f32.
    pub(super) const BINDINGS: [Binding; 3] = [
        read("x", Elem::F32),
        read("w", Elem::U32),
        write("y", Elem::F32),
    ];

    /// A whole matrix that overwrites `y`.
    pub fn whole(outs: usize, tokens: usize, k: usize, dtype: MatrixDtype) -> Self {
        Self {
            outs,
            tokens,
            k,
            out_offset: 0,
            y_stride: outs,
            dtype,
            accumulate: false,
        }
    }

    /// As [`Op::shape`] prints it.
    pub(super) fn shape(&self) -> String {
        let Self {
            outs, tokens, k, ..
        } = self;
        let mut shape = format!("m={outs},n={tokens},k={k}");
        if self.out_offset > 0 || self.y_stride != self.outs {
            shape += &format!(",offset={},stride={}", self.out_offset, self.y_stride);
        }
        shape += &format!(",dtype={}", self.dtype);
        if self.accumulate {
            shape += ",accumulate=1";
        }
        shape
    }

    pub(super) fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("ELEM", self.dtype.code()),
            ("ACCUMULATE", f64::from(u8::from(self.accumulate))),
        ]
    }

    pub(super) fn lengths(&self) -> Vec<usize> {
        let y = self.tokens.saturating_sub(1) * self.y_stride + self.out_offset + self.outs;
        vec![
            self.tokens * self.k,
            self.outs * self.dtype.row_words(self.k),
            y,
        ]
    }

    pub(super) fn cost(&self) -> Cost {
        let weights = self.outs * self.dtype.words(self.k);
        let y = self.tokens * self.outs * if self.accumulate { 2 } else { 1 };
        Cost {
            bytes: 4.0 * (weights + self.tokens * self.k + y) as f64,
            ops: 2.0 * (self.tokens * self.outs) as f64 * self.k as f64,
        }
    }

    pub(super) fn reference(&self, b: &mut Bindings<'_>) {
        let (x, w): (&[f32], &[u32]) = (b.read(0), b.read(1));
        let y: &mut [f32] = b.write(2);
        let mut weights = vec![0.0; self.k];
        for out in 0..self.outs {
            let words = self.dtype.row_words(self.k);
            self.dtype.decode(&w[out * words..][..words], &mut weights);
            for token in 0..self.tokens {
                let x = &x[token * self.k..][..self.k];
                let sum: f64 = x
                    .iter()
                    .zip(&weights)
                    .map(|(&x, &w)| f64::from(x) * f64::from(w))
                    .sum();
                let y = &mut y[token * self.y_stride + self.out_offset + out];
                let before = if self.accumulate { f64::from(*y) } else { 0.0 };
                *y = (before + sum) as f32;
            }
        }
    }

    pub(super) fn host(&self, b: &mut Bindings<'_>) {
        let (x, w): (&[f32], &[u32]) = (b.read(0), b.read(1));
        let y: &mut [f32] = b.write(2);
        // Each thread computes a block of outputs, [blocks, tokens, outputs of a block]; then threads bring them to `y`.
        let outs = match self.tokens < MANY_TOKENS {
            true => OUTS_PER_THREAD,
            false => 2 * OUTS_PER_THREAD,
        };
        let mut sums = vec![0.0f32; self.outs * self.tokens];
        cpu::each_chunk(&mut sums, outs * self.tokens, |i, sums| {
            self.block(x, w, i * outs, sums);
        });
        let all = self.tokens.saturating_sub(1) * self.y_stride + self.out_offset + self.outs;
        let tokens: Vec<_> = y[..all].chunks_mut(self.y_stride).enumerate().collect();
        cpu::each_worth(tokens, self.outs, |(token, y): (usize, &mut [f32])| {
            let blocks = sums.chunks(outs * self.tokens);
            let y = y[self.out_offset..][..self.outs].chunks_mut(outs);
            for (y, block) in y.zip(blocks) {
                let sums = &block[token * y.len()..][..y.len()];
                for (y, sum) in y.iter_mut().zip(sums) {
                    *y = sum + if self.accumulate { *y } else { 0.0 };
                }
            }
        });
    }

    /// Outputs from `first` on, for all tokens: `sums` [tokens, outputs].
    fn block(&self, x: &[f32], w: &[u32], first: usize, sums: &mut [f32]) {
        let words = self.dtype.row_words(self.k);
        let outs = sums.len() / self.tokens;
        let x = &x[..self.tokens * self.k];
        if self.dtype == MatrixDtype::F32 && words == self.k {
            let weights = &bytemuck::cast_slice(w)[first * words..][..outs * words];
            return cpu::dots(self.k, x, weights, sums);
        }
        let mut decoded = vec![0.0; outs * self.k];
        for (i, decoded) in decoded.chunks_exact_mut(self.k).enumerate() {
            self.dtype
                .decode(&w[(first + i) * words..][..words], decoded);
        }
        cpu::dots(self.k, x, &decoded, sums);
    }
}
