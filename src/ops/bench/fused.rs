//! Realistic sizes of the ops that do several things at once, and of those with cooperative matrices.

use super::*;
use crate::ops::Kv;
use crate::ops::attention::AttentionCoop;
use crate::ops::attention::AttentionStep;
use crate::ops::matmul::{MatmulGemmCoop, MatmulGemmCoopTall};
use crate::ops::norm::RmsNormF16;
use crate::ops::norm::RmsNormQuantize;
use crate::ops::phase::{Outcome, PhaseExpand, PhaseGemmBits, PhaseGemmCoop, PhaseGemvFused};
use crate::ops::quantize::Hadamard;
use crate::ops::sampling::Sample;

const EPS: f32 = 1e-5;

/// Layers of decoding as they read their tokens: normalized ones behind a norm, gate and up gated.
pub fn phase_gemv_fused() -> Vec<BenchCase<PhaseGemvFused>> {
    let data = [Bits, Floats, Floats, Zeros, Zeros, Floats];
    let mut all = Vec::new();
    for (mode_name, mode) in MODES {
        for (name, shape) in phase_shapes(1) {
            let norm = (!name.starts_with("o ") && !name.starts_with("down")).then_some(EPS);
            let outcome = match shape.segments.len() {
                2 => Outcome::Gated,
                _ => Outcome::Plain,
            };
            let op = PhaseGemvFused {
                shape,
                mode,
                norm,
                outcome,
                known: match name.starts_with("down") {
                    true => PROCESSORS,
                    false => 0,
                },
                processors: PROCESSORS,
            };
            all.push(case(format!("{name}, {mode_name}"), op, &data));
        }
    }
    all
}

pub fn phase_gemm_coop() -> Vec<BenchCase<PhaseGemmCoop>> {
    let data = [Bits, Halves, Zeros, Zeros];
    let mode = Activations::Int16;
    let all = phase_shapes(PROMPT).into_iter();
    all.map(|(name, shape)| case(name, PhaseGemmCoop { shape, mode }, &data))
        .collect()
}

/// Eight texts that are decoded together, and a prompt.
pub fn phase_gemm_bits() -> Vec<BenchCase<PhaseGemmBits>> {
    let of = |rows| {
        integer(rows, |shape, mode| PhaseGemmBits {
            shape,
            mode,
            processors: PROCESSORS,
        })
    };
    let few = of(8).into_iter().map(|mut case| {
        case.note += ", 8 tokens";
        case
    });
    few.chain(of(PROMPT)).collect()
}

/// Every layer for itself.
pub fn phase_expand() -> Vec<BenchCase<PhaseExpand>> {
    let mode = Activations::Int16;
    let each = |(name, shape)| {
        let layer = 0;
        let op = PhaseExpand { shape, layer, mode };
        case(name, op, &[Bits, Zeros, Zeros])
    };
    phase_shapes(1).into_iter().map(each).collect()
}

pub fn matmul_gemm_coop_tall() -> Vec<BenchCase<MatmulGemmCoopTall>> {
    let each = |(name, dense)| {
        let op = MatmulGemmCoopTall(MatmulGemmCoop::plain(dense));
        case(name, op, &[Halves, Halves, Zeros])
    };
    products().map(each).into()
}

pub fn rms_norm_quantize() -> Vec<BenchCase<RmsNormQuantize>> {
    let each = |(name, rows)| {
        let op = RmsNormQuantize {
            rows,
            columns: HIDDEN,
            eps: EPS,
            mode: Activations::Int16,
        };
        case(name, op, &[Floats, Floats, Zeros, Zeros])
    };
    STEPS.into_iter().map(each).collect()
}

pub fn hadamard() -> Vec<BenchCase<Hadamard>> {
    let each = |(name, rows)| {
        let op = Hadamard {
            rows,
            width: HIDDEN,
            back: false,
        };
        case(name, op, &[Floats, Zeros])
    };
    STEPS.into_iter().map(each).collect()
}

pub fn rms_norm_f16() -> Vec<BenchCase<RmsNormF16>> {
    let each = |(name, rows)| {
        let op = RmsNormF16 {
            rows,
            n: HIDDEN,
            norm: Some(EPS),
        };
        case(name, op, &[Floats, Floats, Zeros])
    };
    STEPS.into_iter().map(each).collect()
}

/// A step of texts at a depth, with one key head per query head or a quarter.
fn step_heads(rows: usize, kv_heads: usize, position: usize) -> Heads {
    Heads {
        rows,
        heads: 32,
        kv_heads,
        head_dim: 128,
        position,
        kv: Kv::F16,
        first: 0,
        offset: 0,
    }
}

pub fn attention_step() -> Vec<BenchCase<AttentionStep>> {
    let mut all = Vec::new();
    for (texts, kv_heads, position) in [
        (1, 32, 64),
        (1, 32, DEPTH - 1),
        (1, 8, DEPTH - 1),
        (8, 32, 511),
    ] {
        let heads = step_heads(texts, kv_heads, position);
        let op = AttentionStep {
            heads,
            splits: AttentionStep::splits(&heads, RANGES),
            processors: PROCESSORS,
            stride: position + 1,
        };
        let name = format!("{texts} texts at depth {position}, {kv_heads} kv heads");
        all.push(case(name, op, &[Floats, Floats, Halves, Halves, Zeros]));
    }
    all
}

pub fn attention_coop() -> Vec<BenchCase<AttentionCoop>> {
    let each = |(kv_heads, position)| {
        let name = format!("prompt of 512 at depth {position}, {kv_heads} kv heads");
        let heads = step_heads(PROMPT, kv_heads, position);
        case(name, AttentionCoop(heads), &[Floats, Halves, Halves, Zeros])
    };
    [(32, 0), (32, DEPTH - PROMPT), (8, DEPTH - PROMPT)]
        .into_iter()
        .map(each)
        .collect()
}

pub fn sample() -> Vec<BenchCase<Sample>> {
    let each = |(name, rows)| {
        let op = Sample {
            rows,
            k: 40,
            to: 0,
            temperature: 0.8,
            top_p: 0.95,
            min_p: 0.05,
        };
        case(name, op, &[Bits, Floats, Bits, Zeros])
    };
    [("40 candidates", 1), ("8 rows of 40 candidates", 8)]
        .map(each)
        .into()
}
