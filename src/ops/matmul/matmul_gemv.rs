//! Products of few tokens with a dense matrix.

use super::{Dense, cases};
use crate::ops::*;

/// [`Dense`] for few tokens: the matrix streams through once per token.
#[derive(Debug, Clone)]
pub struct MatmulGemv(pub Dense);

params! {
    /// Uniform block of [`MatmulGemv`].
    pub struct MatmulGemvParams {
        k: u32,
        outs: u32,
        stride: u32,
        y_stride: u32,
        out_offset: u32,
    }
}

/// Outputs of a workgroup.
const OUTS: usize = 4;

impl Op for MatmulGemv {
    const NAME: &'static str = "matmul_gemv";
    const SHADERS: &'static [Shader] = &[
        shader!(
            Features::SUBGROUP,
            matmul / "matmul_gemv_subgroup",
            "elem",
            "gemv"
        ),
        shader!(Features::NONE, matmul / "matmul_gemv", "elem", "gemv"),
    ];
    const BINDINGS: &'static [Binding] = &Dense::BINDINGS;
    // an output is a random walk of k / 64 roundings (k / 16 on the host): an error of about k 2^-48 / 100
    const AGREE: Agree = Agree::Nmse(1e-12);
    type Params = MatmulGemvParams;

    fn shape(&self) -> String {
        self.0.shape()
    }

    fn params(&self) -> MatmulGemvParams {
        MatmulGemvParams {
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
            groups: self.0.outs.div_ceil(OUTS) as u32,
            batch: self.0.tokens as u32,
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
        cases::bench_layers(Self)
    }

    fn cases() -> Vec<Case<Self>> {
        let sizes = [
            [40, 1, 512],
            [33, 1, 75],
            [5, 3, 1030],
            [1, 2, 1],
            [7, 1, 2052],
        ];
        cases::of_sizes(&sizes, Self)
    }
}
