//! Products of many tokens with a dense matrix of 16 bits, by cooperative matrices.

use super::{Dense, cases};
use crate::ops::*;

/// Tokens of a tile: `x` and `y` hold a multiple of this many.
pub const COOP_TOKENS: usize = 128;

/// Outputs of a tile.
const OUTS: usize = 128;

/// [`Dense`] with inputs in f16: tiles of 128 tokens and 128 outputs, sums in f32, times a scale.
///
/// Bindings: `x` [tokens, k] f16, as [`crate::ops::norm::RmsNormF16`] makes it; `w` [outs, k] f16 or bf16; `y`
/// [tokens, y_stride] f32; `tokens` is rounded up to [`COOP_TOKENS`], and all of them are computed.
///
/// Weights in bf16 are made f16, which holds them exactly if they are zero or of a magnitude in [2^-17, 65504]:
/// smaller ones are rounded to multiples of 2^-24, larger ones become 65504.
#[derive(Debug, Clone)]
pub struct MatmulGemmCoop {
    /// The product.
    pub dense: Dense,
    /// What sums are multiplied by.
    pub scale: f32,
}

impl MatmulGemmCoop {
    /// Bindings of this op and of [`super::MatmulGemmCoopTall`].
    pub(super) const BINDINGS: [Binding; 3] = [
        prefetched("x", Elem::F16x2),
        prefetched("w", Elem::U32),
        write("y", Elem::F32),
    ];

    // Products are exact in f32, and matrix units may truncate their sums instead of rounding them: k / 16 steps that
    // lose up to 2^-23 each, all in the same direction, are (64 * 2^-23)^2 = 6e-11 for k = 1024. Weights in bf16 below
    // 2^-17 or beyond 65504 add what they lose as f16, about 1e-16 where weights are around 1.
    pub(super) const AGREE: Agree = Agree::Nmse(1e-10);

    /// The product alone.
    pub fn plain(dense: Dense) -> Self {
        Self { dense, scale: 1.0 }
    }

    /// Whether the kernel takes the product: weights of 16 bits, whole or half tiles of outputs, whole steps along k, and
    /// blocks of sums that begin at multiples of 16 bytes, as cooperative matrices ask.
    pub fn fits(dense: &Dense) -> bool {
        matches!(dense.dtype, MatrixDtype::F16 | MatrixDtype::Bf16)
            && dense.k > 0
            && dense.k.is_multiple_of(64)
            && dense.outs.is_multiple_of(OUTS / 2)
            && dense.out_offset.is_multiple_of(4)
            && dense.y_stride.is_multiple_of(4)
    }

    fn padded(&self) -> Dense {
        Dense {
            tokens: self.dense.tokens.next_multiple_of(COOP_TOKENS),
            ..self.dense
        }
    }
}

params! {
    /// Uniform block of [`MatmulGemmCoop`].
    pub struct MatmulGemmCoopParams {
        tokens: u32,
        k: u32,
        outs: u32,
        y_stride: u32,
        out_offset: u32,
        scale: f32,
    }
}

impl Op for MatmulGemmCoop {
    const NAME: &'static str = "matmul_gemm_coop";
    const SHADERS: &'static [Shader] = &[shader!(unchecked Features::MATRIX,
        matmul / "matmul_gemm_coop", "coop_tile", "coop_order", "quad", "elem", "coop_dense")];
    const BINDINGS: &'static [Binding] = &Self::BINDINGS;
    const AGREE: Agree = Self::AGREE;
    type Params = MatmulGemmCoopParams;

    fn shape(&self) -> String {
        match self.scale {
            1.0 => self.dense.shape(),
            scale => format!("{},scale={scale}", self.dense.shape()),
        }
    }

    fn params(&self) -> MatmulGemmCoopParams {
        let dense = &self.dense;
        debug_assert!(Self::fits(dense), "{}", self.shape());
        MatmulGemmCoopParams {
            tokens: dense.tokens as u32,
            k: dense.k as u32,
            outs: dense.outs as u32,
            y_stride: dense.y_stride as u32,
            out_offset: dense.out_offset as u32,
            scale: self.scale,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        self.dense.overrides()
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.dense.tokens.div_ceil(COOP_TOKENS) * self.dense.outs.div_ceil(OUTS))
                as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let mut lengths = self.padded().lengths();
        lengths[0] /= 2;
        lengths
    }

    fn cost(&self) -> Cost {
        let cost = self.dense.cost();
        Cost {
            bytes: cost.bytes - 2.0 * (self.dense.tokens * self.dense.k) as f64,
            ..cost
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let dense = self.padded();
        let mut x = vec![0.0; dense.tokens * dense.k];
        MatrixDtype::F16.decode(b.read(0), &mut x);
        x.iter_mut().for_each(|x| *x *= self.scale);
        let mut inner = Bindings::new();
        inner.push_read(bytemuck::cast_slice(&x));
        inner.push_read(b.read(1));
        inner.push_write(b.write(2));
        dense.reference(&mut inner);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_products(Made::Halves, Self::plain)
    }

    fn cases() -> Vec<Case<Self>> {
        cases::coop_halves(|dense, scale| Self { dense, scale })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_fits() {
        for case in MatmulGemmCoop::cases() {
            assert!(MatmulGemmCoop::fits(&case.op.dense), "{}", case.name());
        }
        let dense = MatmulGemmCoop::cases()[0].op.dense;
        let refused = [
            Dense { k: 96, ..dense },
            Dense { outs: 96, ..dense },
            Dense {
                out_offset: 2,
                ..dense
            },
            Dense {
                dtype: MatrixDtype::F32,
                ..dense
            },
        ];
        assert!(!refused.iter().any(MatmulGemmCoop::fits));
    }
}
