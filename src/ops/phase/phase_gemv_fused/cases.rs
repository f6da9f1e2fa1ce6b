//! Inputs on which the product that rounds its token is checked and timed.

use super::{Outcome, PhaseGemvFused};
use crate::ops::bench::{self, BENCH_PROCESSORS};
use crate::ops::phase::{PhaseShape, cases};
use crate::ops::quantize::Activations;
use crate::ops::*;

/// Workgroups that a device runs at a time: more than most shapes have rows for, or so few that each has several rows.
const PROCESSORS: [usize; 2] = [132, 3];

/// All of them.
pub(super) fn all() -> Vec<Case<PhaseGemvFused>> {
    let mut cases = Vec::new();
    for mode in Activations::INTEGERS {
        for (norm, outcome, n_absmax_partials) in [
            (None, Outcome::Plain, 0),
            (None, Outcome::Plain, 1),
            (None, Outcome::Plain, 165),
            (None, Outcome::Gated, 0),
            (Some(1e-5), Outcome::Plain, 0),
            (Some(1e-5), Outcome::Gated, 0),
        ] {
            for shape in shapes() {
                let op = PhaseGemvFused {
                    shape,
                    mode,
                    norm,
                    outcome,
                    n_absmax_partials,
                    processors: PROCESSORS[cases.len() % 2],
                };
                if op.sensible() && op.fits(1 << 15) {
                    let tokens = noise(12, op.shape.tokens * op.shape.in_features, 3.0);
                    cases.push(case("", op, &tokens));
                }
            }
        }
        cases.extend(rounding_cases(mode));
    }
    cases
}

/// Tokens that are hard to round.
fn rounding_cases(mode: Activations) -> Vec<Case<PhaseGemvFused>> {
    let op = PhaseGemvFused {
        shape: PhaseShape::whole(&[64], 1, 1024, 1),
        mode,
        norm: None,
        outcome: Outcome::Plain,
        n_absmax_partials: 0,
        processors: PROCESSORS[0],
    };
    let scaled = |by: f32| -> Vec<f32> { noise(14, 1024, 1.0).iter().map(|x| x * by).collect() };
    let normed = PhaseGemvFused {
        norm: Some(1e-5),
        ..op.clone()
    };
    vec![
        case("data=below_powers_of_two", op.clone(), &brink(1024)),
        case("data=small_ties", op.clone(), &ties(1024, mode, false)),
        case("data=large_ties", op.clone(), &ties(1024, mode, true)),
        case("data=large", op.clone(), &scaled(2f32.powi(70))),
        case("data=largest", op, &scaled(f32::MAX)),
        case("data=small", normed, &scaled(2f32.powi(-80))),
    ]
}

/// A token whose largest value is a power of two, while all others are a little less than one: their quotients are
/// rounded up to a power of two.
fn brink(columns: usize) -> Vec<f32> {
    let value = |i: usize| {
        let below = 1.0 - 2f32.powi(-8 - (i / 16 % 16) as i32);
        let sign = if i.is_multiple_of(3) { -1.0 } else { 1.0 };
        sign * below * 2f32.powi(2 - (i % 16) as i32)
    };
    let mut token: Vec<f32> = (0..columns).map(value).collect();
    token[columns / 2] = 4.0;
    token
}

/// Quotients that are ties, or one unit of f32 beside one; among the smallest, or among the largest.
fn ties(columns: usize, mode: Activations, largest: bool) -> Vec<f32> {
    let levels = mode.levels() as f32;
    let value = |i: usize| {
        let tie = (i / 3) as f32 % (levels - 1.0).min(300.0) + 0.5;
        let tie = if largest { levels - tie } else { tie };
        match i % 3 {
            0 => -tie,
            1 => tie.next_up(),
            _ => tie.next_down(),
        }
    };
    let mut token: Vec<f32> = (0..columns).map(value).collect();
    token[columns / 2] = levels;
    token
}

fn case(note: &str, op: PhaseGemvFused, tokens: &[f32]) -> Case<PhaseGemvFused> {
    let columns = op.shape.in_features;
    let weight: Vec<f32> = noise(13, columns, 0.5).iter().map(|w| w + 1.0).collect();
    let [codes, blocks, mut y] = cases::stack(&op.shape, op.mode);
    let lengths = op.lengths();
    if let Data::Out(words) = &mut y {
        *words = lengths[4];
    }
    let partials = match op.n_absmax_partials {
        0 => Data::Out(lengths[5]),
        n => Data::f32(&absmax_partials(tokens, columns, n)),
    };
    let (x, weight) = (Data::f32(tokens), Data::f32(&weight));
    Case::new(note, op, vec![codes, x, weight, blocks, y, partials])
}

/// Of each token, `n` magnitudes: one of them, another one in each token, is the largest, and the others are half of it.
fn absmax_partials(tokens: &[f32], columns: usize, n: usize) -> Vec<f32> {
    let each = tokens.chunks_exact(columns).enumerate().map(|(i, token)| {
        let absmax = token.iter().fold(0.0f32, |absmax, x| absmax.max(x.abs()));
        let mut partials = vec![absmax / 2.0; n];
        partials[(7 * i + n - 1) % n] = absmax;
        partials
    });
    each.flatten().collect()
}

/// The usual shapes, whole vec4s each, and those that workgroups share in other ways.
fn shapes() -> Vec<PhaseShape> {
    let mut shapes = cases::shapes();
    for shape in &mut shapes {
        shape.in_features = shape.in_features.next_multiple_of(8);
    }
    let pair = |n: usize, in_features, stages, tokens| {
        PhaseShape::whole(&[n; 2], tokens, in_features, stages)
    };
    shapes.extend([
        PhaseShape::whole(&[26_000], 1, 16, 2),
        pair(64, 128, 2, 1),
        pair(33, 72, 3, 2),
        pair(96, 384, 1, 1),
        // more rows than workgroups hold: several turns
        pair(4400, 16, 2, 1),
        // a row is exactly what one tile, or two, keep in registers
        pair(9, 4096, 2, 2),
        pair(5, 6144, 2, 1),
        // tiles share rows
        pair(6, 4480, 2, 1),
        pair(3, 4480, 4, 1),
    ]);
    shapes
}

/// Layers of decoding as they read their tokens: normalized behind a norm, gate and up gated, down with partials.
pub(super) fn bench() -> Vec<BenchCase<PhaseGemvFused>> {
    let data = [
        Made::Bits,
        Made::Floats,
        Made::Floats,
        Made::Zeros,
        Made::Zeros,
        Made::Floats,
    ];
    let op = |shape, mode, layer| PhaseGemvFused {
        shape,
        mode,
        norm: (layer != "o" && layer != "down").then_some(1e-5),
        outcome: match layer {
            "gate_up" => Outcome::Gated,
            _ => Outcome::Plain,
        },
        n_absmax_partials: if layer == "down" { BENCH_PROCESSORS } else { 0 },
        processors: BENCH_PROCESSORS,
    };
    let mut all = Vec::new();
    for mode in Activations::INTEGERS {
        for (layer, shape) in cases::bench_shapes(1) {
            let note = format!("layer={layer}");
            all.push(bench::case(note, op(shape, mode, layer), &data));
        }
    }
    all
}
