//! Products of very many tokens with a dense matrix of 16 bits, by cooperative matrices.

use super::matmul_gemm_coop::{MatmulGemmCoop, MatmulGemmCoopParams};
use super::{Dense, cases};
use crate::ops::*;

/// [`MatmulGemmCoop`] for very many tokens: each workgroup has fewer subgroups with larger tiles, so that factors are
/// read less often, and two workgroups take turns on a processor. The same sums in the same order.
#[derive(Debug, Clone)]
pub struct MatmulGemmCoopTall(pub MatmulGemmCoop);

impl MatmulGemmCoopTall {
    /// Whether the kernel takes the product: one of [`MatmulGemmCoop`] with whole tiles of outputs.
    pub fn fits(dense: &Dense) -> bool {
        MatmulGemmCoop::fits(dense) && dense.outs.is_multiple_of(128)
    }
}

impl Op for MatmulGemmCoopTall {
    const NAME: &'static str = "matmul_gemm_coop_tall";
    const SHADERS: &'static [Shader] = &[shader!(unchecked Features::MATRIX,
        matmul / "matmul_gemm_coop_tall", "coop_order", "quad", "elem", "coop_dense")];
    const BINDINGS: &'static [Binding] = &MatmulGemmCoop::BINDINGS;
    const AGREE: Agree = MatmulGemmCoop::AGREE;
    type Params = MatmulGemmCoopParams;

    fn shape(&self) -> String {
        self.0.shape()
    }

    fn params(&self) -> MatmulGemmCoopParams {
        self.0.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        self.0.overrides()
    }

    fn grid(&self) -> Grid {
        self.0.grid()
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

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_products(Made::Halves, |dense| Self(MatmulGemmCoop::plain(dense)))
    }

    fn cases() -> Vec<Case<Self>> {
        cases::coop(|dense, scale| Self(MatmulGemmCoop { dense, scale }))
    }
}
