//! Inputs on which the product that rounds its token is checked and timed.

use super::{Outcome, PhaseGemvFused};
use crate::ops::activation::Gate;
use crate::ops::bench::{self, BENCH_PROCESSORS};
use crate::ops::norm::Rms;
use crate::ops::phase::{PhaseShape, cases};
use crate::ops::quantize::{Activations, Form};
use crate::ops::*;

/// Workgroups that a device runs at a time: more than most shapes have rows for, or so few that each has several rows.
const PROCESSORS: [usize; 2] = [132, 3];

/// Layers of iFairy's smaller model (arXiv 2508.05571): name, outputs, complex values of a head where its halves lie together.
const COMPLEX_LAYERS: [(&str, &[usize], usize); 4] = [
    ("qkv", &[3072; 3], 96),
    ("o", &[3072], 0),
    ("gate_up", &[8192; 2], 0),
    ("down", &[3072], 0),
];

/// All of them.
pub(super) fn all() -> Vec<Case<PhaseGemvFused>> {
    let gated = Outcome::Gated(Gate::Silu);
    let norm = Some(Rms::real(1e-5));
    let real = [
        (None, Outcome::Plain, 0),
        (None, Outcome::Plain, 1),
        (None, Outcome::Plain, 165),
        (None, gated, 0),
        (norm, Outcome::Plain, 0),
        (norm, gated, 0),
    ];
    let gated = Outcome::Gated(Gate::SquaredRelu);
    let norm = Some(Rms::complex(1e-5));
    let complex = [
        (None, Outcome::Plain, 0),
        (None, gated, 0),
        (norm, Outcome::Plain, 0),
        (norm, gated, 0),
    ];
    let mut cases = Vec::new();
    for mode in Activations::INTEGERS {
        cases.extend(products(mode, &real, &shapes()));
        let mut shapes = conjugate_shapes();
        if mode == Activations::Int16 {
            // Kernels of 16 bits differ in how tokens are rounded alone, and software devices take long to compile them.
            shapes = shapes.into_iter().step_by(2).collect();
        }
        cases.extend(products(mode, &complex, &shapes));
        cases.extend(rounding_cases(mode));
        cases.push(gelu_case(mode));
    }
    cases
}

/// Those of the shapes that go with each way to read tokens and to use the products.
fn products(
    mode: Activations,
    ways: &[(Option<Rms>, Outcome, usize)],
    shapes: &[PhaseShape],
) -> Vec<Case<PhaseGemvFused>> {
    let mut cases = Vec::new();
    for &(norm, outcome, n_absmax_partials) in ways {
        for shape in shapes {
            let op = PhaseGemvFused {
                shape: shape.clone(),
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
    cases
}

/// A gate of GELU.
fn gelu_case(mode: Activations) -> Case<PhaseGemvFused> {
    let op = PhaseGemvFused {
        shape: PhaseShape::whole(&[96; 2], 1, 384, 2),
        mode,
        norm: None,
        outcome: Outcome::Gated(Gate::GeluTanh),
        n_absmax_partials: 0,
        processors: PROCESSORS[0],
    };
    let token = noise(12, op.shape.in_features, 3.0);
    case("", op, &token)
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
        norm: Some(Rms::real(1e-5)),
        ..op.clone()
    };
    let conjugate = |norm| PhaseGemvFused {
        shape: PhaseShape {
            form: Form::Conjugate,
            ..op.shape.clone()
        },
        norm,
        ..op.clone()
    };
    // the imaginary half is much larger than the real one, or zero
    let halves = |factor: f32| -> Vec<f32> {
        let scale = |i| if i < 512 { 1e-3 } else { factor };
        let values = noise(15, 1024, 1.0).into_iter().enumerate();
        values.map(|(i, x)| x * scale(i)).collect()
    };
    let complex = Some(Rms::complex(1e-5));
    vec![
        case("data=large_imaginary", conjugate(None), &halves(1e3)),
        case("data=no_imaginary", conjugate(None), &halves(0.0)),
        case("data=large_imaginary", conjugate(complex), &halves(1e3)),
        case("data=no_imaginary", conjugate(complex), &halves(0.0)),
        case("data=large_ties", conjugate(None), &ties(1024, mode, true)),
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

/// The same in the conjugate form: rows of one plane to four, and those that workgroups share in other ways.
fn conjugate_shapes() -> Vec<PhaseShape> {
    // Every third has one plane, several planes, runs of halves, sums that are added, a shard.
    let mut shapes: Vec<_> = cases::conjugate_shapes().into_iter().step_by(3).collect();
    for shape in &mut shapes {
        shape.in_features = shape.in_features.next_multiple_of(8);
    }
    let pair = |n: usize, in_features, stages, tokens| PhaseShape {
        form: Form::Conjugate,
        ..PhaseShape::whole(&[n; 2], tokens, in_features, stages)
    };
    shapes.extend([
        pair(64, 128, 1, 1),
        PhaseShape {
            per_row: true,
            ..pair(34, 72, 3, 2)
        },
        pair(96, 384, 2, 1),
        pair(32, 264, 4, 1),
        // more rows than workgroups hold: several turns
        pair(9000, 16, 1, 1),
        // a row is exactly what one tile keeps in registers, and tiles share rows
        pair(10, 4096, 1, 2),
        pair(6, 8192, 1, 1),
        pair(6, 4480, 2, 1),
        pair(4, 4480, 3, 1),
        pair(4, 6144, 4, 1),
    ]);
    shapes
}

/// Layers of decoding as they read their tokens: normalized behind a norm, gate and up gated, down with partials; those of
/// complex values always normalized.
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
        norm: (layer != "o" && layer != "down").then_some(Rms::real(1e-5)),
        outcome: match layer {
            "gate_up" => Outcome::Gated(Gate::Silu),
            _ => Outcome::Plain,
        },
        n_absmax_partials: if layer == "down" { BENCH_PROCESSORS } else { 0 },
        processors: BENCH_PROCESSORS,
    };
    let complex = |(layer, segments, half_run): (_, &[usize], usize), mode| {
        let in_features = if layer == "down" { 8192 } else { 3072 };
        let shape = PhaseShape {
            form: Form::Conjugate,
            half_run,
            ..PhaseShape::whole(segments, 1, in_features, 1)
        };
        PhaseGemvFused {
            shape,
            mode,
            norm: Some(Rms::complex(1e-5)),
            outcome: match layer {
                "gate_up" => Outcome::Gated(Gate::SquaredRelu),
                _ => Outcome::Plain,
            },
            n_absmax_partials: 0,
            processors: BENCH_PROCESSORS,
        }
    };
    let mut all = Vec::new();
    for mode in Activations::INTEGERS {
        for (layer, shape) in cases::bench_shapes(1) {
            let note = format!("layer={layer}");
            all.push(bench::case(note, op(shape, mode, layer), &data));
        }
        for layer in COMPLEX_LAYERS {
            let note = format!("layer={}", layer.0);
            all.push(bench::case(note, complex(layer, mode), &data));
        }
    }
    all
}
