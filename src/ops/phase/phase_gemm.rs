//! Exact products of many tokens.

use super::{PhaseParams, PhaseShape, cases, integer};
use crate::ops::bench::PROMPT;
use crate::ops::quantize::Activations;
use crate::ops::*;

/// Product of a stack with many tokens: tiles of 16 complex rows by 32 tokens. Bindings as [`super::PhaseGemv`].
#[derive(Debug, Clone)]
pub struct PhaseGemm {
    /// The stack.
    pub shape: PhaseShape,
    /// [`Activations::Int16`] or [`Activations::Int8`].
    pub mode: Activations,
}

/// Complex rows and tokens of a tile.
const ROWS: usize = 16;
const TOKENS: usize = 32;

impl Op for PhaseGemm {
    const NAME: &'static str = "phase_gemm";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        phase / "phase_gemm",
        "form",
        "wide",
        "bits",
        "accumulate",
        "stack",
        "planes",
        "scaled",
        "transposed",
        "load_codes",
        "gemm_stage"
    )];
    const BINDINGS: &'static [Binding] = integer::BINDINGS;
    const AGREE: Agree = Agree::Bits;
    type Params = PhaseParams;

    fn shape(&self) -> String {
        format!("{},act={}", self.shape.shape(), self.mode)
    }

    fn params(&self) -> PhaseParams {
        integer::params(&self.shape, self.mode)
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        integer::constants(&self.shape, self.mode).collect()
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.shape.shard_rows.div_ceil(ROWS) as u32,
            batch: self.shape.tokens.div_ceil(TOKENS) as u32,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        integer::lengths(&self.shape, self.mode)
    }

    fn cost(&self) -> Cost {
        integer::cost(&self.shape, self.mode)
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        integer::reference(&self.shape, self.mode, b);
    }

    fn host(&self, b: &mut Bindings<'_>) {
        integer::on_host(&self.shape, self.mode, b);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_integer(PROMPT, |shape, mode| Self { shape, mode })
    }

    fn cases() -> Vec<Case<Self>> {
        cases::integer(|shape, mode| Self { shape, mode })
    }
}
