//! Products of many tokens in f32, for devices without cooperative matrices.

use super::{PhaseParams, PhaseShape, cases, cpu, float};
use crate::ops::bench::PROMPT;
use crate::ops::*;

/// Product of a stack with many tokens, f32 activations: tiles of 32 complex rows by 64 tokens, for devices without
/// cooperative matrices. Codes become real 2x2 blocks in f32, so that a complex product costs one real one.
/// Bindings as [`super::PhaseGemvFloat`].
#[derive(Debug, Clone)]
pub struct PhaseGemmFloat {
    /// The stack.
    pub shape: PhaseShape,
}

impl Op for PhaseGemmFloat {
    const NAME: &'static str = "phase_gemm_float";
    const SHADERS: &'static [Shader] = &[
        shader!(unchecked Features::NONE, phase / "phase_gemm_float", "stack", "halves", "phase", "outer"),
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
        let planes = float::plane_overrides(&self.shape).into_iter();
        planes.chain(self.shape.runs()).collect()
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.shape.shard_rows.div_ceil(32) * self.shape.tokens.div_ceil(64)) as u32,
            batch: 1,
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
        cases::bench_float(PROMPT, |shape| Self { shape })
    }

    fn cases() -> Vec<Case<Self>> {
        cases::float(|shape| Self { shape })
    }
}
