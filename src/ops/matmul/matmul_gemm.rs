//! Products of many tokens with a dense matrix, by f32 arithmetic.

use super::{Dense, cases};
use crate::ops::*;

/// Tokens and outputs of a tile.
const TILE: usize = 64;

/// [`Dense`] for many tokens: tiles of 64 tokens and 64 outputs.
#[derive(Debug, Clone)]
pub struct MatmulGemm(pub Dense);

params! {
    /// Uniform block of [`MatmulGemm`].
    pub struct MatmulGemmParams {
        tokens: u32,
        k: u32,
        outs: u32,
        stride: u32,
        y_stride: u32,
        out_offset: u32,
    }
}

impl Op for MatmulGemm {
    const NAME: &'static str = "matmul_gemm";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        matmul / "matmul_gemm",
        "elem",
        "outer"
    )];
    const BINDINGS: &'static [Binding] = &Dense::BINDINGS;
    // an output is one chain of k roundings: an error of about k 2^-48 / 6, for k up to 16384
    const AGREE: Agree = Agree::Nmse(1e-11);
    type Params = MatmulGemmParams;

    fn shape(&self) -> String {
        self.0.shape()
    }

    fn params(&self) -> MatmulGemmParams {
        MatmulGemmParams {
            tokens: self.0.tokens as u32,
            k: self.0.k as u32,
            outs: self.0.outs as u32,
            stride: (self.0.dtype.row_words(self.0.k) / 4) as u32,
            y_stride: self.0.y_stride as u32,
            out_offset: self.0.out_offset as u32,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        self.0.overrides()
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.0.tokens.div_ceil(TILE) * self.0.outs.div_ceil(TILE)) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        self.0.lengths()
    }

    fn cost(&self) -> Cost {
        self.0.cost()
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        self.0.reference(b);
    }

    fn host(&self, b: &mut Bindings<'_>) {
        self.0.host(b);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_products(Made::Floats, Self)
    }

    fn cases() -> Vec<Case<Self>> {
        let sizes = [
            [64, 64, 64],
            [130, 70, 75],
            [65, 129, 33],
            [1, 1, 1],
            [67, 5, 520],
        ];
        cases::of_sizes(&sizes, Self)
    }
}
