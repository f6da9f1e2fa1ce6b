//! Exact products of few tokens.

use super::{PhaseParams, PhaseShape, cases, integer};
use crate::ops::quantize::Activations;
use crate::ops::*;

/// Product of a stack with few tokens: a team of invocations per complex row.
///
/// Bindings: `codes` [shard rows, words, planes] u32 ([`super::interleaved`]), or as [`PhaseShape::layout`] says; `q` and
/// `absmax` as [`crate::ops::quantize::QuantizeAct`] writes them; `scale_blocks` [scale blocks, 1 + groups * planes * 2] u32
/// ([`super::integer_scale_blocks`]); `y` [tokens, outputs] f32.
#[derive(Debug, Clone)]
pub struct PhaseGemv {
    /// The stack.
    pub shape: PhaseShape,
    /// [`Activations::Int16`] or [`Activations::Int8`].
    pub mode: Activations,
}

/// Invocations of a workgroup.
const WIDTH: usize = 128;

impl Op for PhaseGemv {
    const NAME: &'static str = "phase_gemv";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        phase / "phase_gemv",
        "form",
        "wide",
        "bits",
        "accumulate",
        "stack",
        "planes",
        "scaled",
        "transposed",
        "load_codes"
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
        let lanes = integer::lanes(self.shape.words()) as f64;
        let constants = integer::constants(&self.shape, self.mode);
        constants.chain([("LANES", lanes)]).collect()
    }

    fn grid(&self) -> Grid {
        let rows = WIDTH / integer::lanes(self.shape.words());
        Grid {
            groups: self.shape.shard_rows.div_ceil(rows) as u32,
            batch: self.shape.tokens as u32,
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
        cases::bench_integer(1, |shape, mode| Self { shape, mode })
    }

    fn cases() -> Vec<Case<Self>> {
        cases::integer(|shape, mode| Self { shape, mode })
    }
}
