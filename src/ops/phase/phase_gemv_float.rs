//! Products of few tokens in f32.

use super::codes::codes_prelude;
use super::{PhaseParams, PhaseShape, cases, cpu, float, integer};
use crate::ops::*;

/// Product of a stack with few tokens, f32 activations.
///
/// Bindings: `codes` [shard rows, words, planes] u32 ([`super::interleaved`]); `x` [tokens, in_features] f32; `scale_blocks`
/// [scale blocks, 1 + groups * planes * 2] u32 ([`super::float_scale_blocks`]); `y` [tokens, outputs] f32.
#[derive(Debug, Clone)]
pub struct PhaseGemvFloat {
    /// The stack.
    pub shape: PhaseShape,
}

/// Invocations of a workgroup.
const WIDTH: usize = 128;

impl Op for PhaseGemvFloat {
    const NAME: &'static str = "phase_gemv_float";
    const SHADERS: &'static [Shader] = &[
        shader!(unchecked Features::NONE, phase / "phase_gemv_float", "stack", "halves", "signs"),
    ];
    const BINDINGS: &'static [Binding] = float::BINDINGS;
    const AGREE: Agree = float::AGREE;
    type Params = PhaseParams;

    fn shape(&self) -> String {
        self.shape.shape()
    }

    fn params(&self) -> PhaseParams {
        self.shape.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        let lanes = integer::lanes(self.shape.words()) as f64;
        let planes = float::plane_overrides(&self.shape);
        let constants = planes.into_iter().chain([("LANES", lanes)]);
        constants.chain(self.shape.runs()).collect()
    }

    fn prelude(&self) -> &'static str {
        codes_prelude(self.shape.planes())
    }

    fn grid(&self) -> Grid {
        let rows = 2 * WIDTH / integer::lanes(self.shape.words());
        Grid {
            groups: self.shape.shard_rows.div_ceil(rows) as u32,
            batch: self.shape.tokens as u32,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        float::lengths(&self.shape)
    }

    fn cost(&self) -> Cost {
        float::cost(&self.shape)
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        float::reference(&self.shape, b);
    }

    fn host(&self, b: &mut Bindings<'_>) {
        cpu::float(&self.shape, b);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_float(1, |shape| Self { shape })
    }

    fn cases() -> Vec<Case<Self>> {
        cases::float(|shape| Self { shape })
    }
}
