//! What the product that rounds its token is checked with.

use super::*;

/// All of them.
pub(super) fn all() -> Vec<Case<PhaseGemvFused>> {
    let mut cases = Vec::new();
    for mode in [Activations::Int16, Activations::Int8] {
        for (norm, outcome, known) in [
            (None, Outcome::Plain, 0),
            (None, Outcome::Plain, 1),
            (None, Outcome::Plain, 165),
            (None, Outcome::Gated, 0),
            (Some(1e-5), Outcome::Plain, 0),
            (Some(1e-5), Outcome::Gated, 0),
        ] {
            for (name, shape) in round_shapes() {
                let op = PhaseGemvFused {
                    shape,
                    mode,
                    norm,
                    outcome,
                    known,
                    processors: [132, 3][cases.len() % 2],
                };
                if op.sensible() && op.fits(1 << 15) {
                    let tokens = noise(12, op.shape.rows * op.shape.in_features, 3.0);
                    cases.push(case(name, op, &tokens));
                }
            }
        }
        cases.extend(rounding_cases(mode));
    }
    cases
}

/// Tokens that are hard to round.
fn rounding_cases(mode: Activations) -> Vec<Case<PhaseGemvFused>> {
    let (_, shape) = round_shapes().swap_remove(0);
    let op = PhaseGemvFused {
        shape: PhaseShape {
            in_features: 1024,
            rows: 1,
            ..shape
        },
        mode,
        norm: None,
        outcome: Outcome::Plain,
        known: 0,
        processors: 132,
    };
    let scaled = |by: f32| -> Vec<f32> { noise(14, 1024, 1.0).iter().map(|x| x * by).collect() };
    let faint = PhaseGemvFused {
        norm: Some(1e-5),
        ..op.clone()
    };
    vec![
        case("on the brink", op.clone(), &brink(1024)),
        case(
            "ties and their neighbours",
            op.clone(),
            &ties(1024, mode, false),
        ),
        case(
            "ties close to the largest",
            op.clone(),
            &ties(1024, mode, true),
        ),
        case("large floats", op.clone(), &scaled(2f32.powi(70))),
        case("close to the end of floats", op, &scaled(f32::MAX)),
        case("small floats", faint, &scaled(2f32.powi(-80))),
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

fn case(name: &str, op: PhaseGemvFused, tokens: &[f32]) -> Case<PhaseGemvFused> {
    let columns = op.shape.in_features;
    let weight: Vec<f32> = noise(13, columns, 0.5).iter().map(|w| w + 1.0).collect();
    let activations = [Data::f32(tokens), Data::f32(&weight)];
    let cells = |s: &[f32], c| integer_cells(s, c, op.mode);
    let mut data = case_data(&op.shape, activations, cells);
    if let (Data::Out(y), Some(words)) = (&mut data[4], op.lengths().get(4)) {
        *y = *words;
    }
    data.push(match op.known {
        0 => Data::Out(op.shape.rows * op.parts()),
        parts => Data::f32(&largest(tokens, columns, parts)),
    });
    let normed = if op.norm.is_some() { ", normed" } else { "" };
    let gated = if op.paired() { ", gated" } else { "" };
    let known = match op.known {
        0 => String::new(),
        parts => format!(", the largest known in {parts}"),
    };
    let name = format!("{name}, {:?}{normed}{gated}{known}", op.mode);
    Case::new(name, op, data)
}

/// The largest magnitude of each token in one of its parts, another one in each, smaller ones in the others.
fn largest(tokens: &[f32], columns: usize, parts: usize) -> Vec<f32> {
    let tops = tokens.chunks_exact(columns).enumerate().map(|(i, token)| {
        let top = token.iter().fold(0.0f32, |top, x| top.max(x.abs()));
        let part = |p| {
            if p == (7 * i + parts - 1) % parts {
                top
            } else {
                top / 2.0
            }
        };
        (0..parts).map(part).collect::<Vec<_>>()
    });
    tops.flatten().collect()
}

/// The usual shapes, whole vec4s each, and what is special about rows dealt out.
fn round_shapes() -> Vec<(&'static str, PhaseShape)> {
    let mut shapes = case_shapes();
    for (_, shape) in &mut shapes {
        shape.in_features = shape.in_features.next_multiple_of(8);
    }
    let pair = |n: usize, in_features, stages, rows| PhaseShape {
        segments: vec![n; 2],
        in_features,
        stages,
        rows,
        piece_rows: 2 * n.div_ceil(2),
        ..shapes[0].1.clone()
    };
    let head = PhaseShape {
        segments: vec![26_000],
        in_features: 16,
        stages: 2,
        rows: 1,
        piece_rows: 13_000,
        ..shapes[0].1.clone()
    };
    let more = [
        ("head", head),
        ("gate and up", pair(64, 128, 2, 1)),
        ("odd gate, three stages", pair(33, 72, 3, 2)),
        ("one stage pair", pair(96, 384, 1, 1)),
        ("rows in turns", pair(4400, 16, 2, 1)),
        ("a team's whole share", pair(9, 4096, 2, 2)),
        ("whole shares of two teams", pair(5, 6144, 2, 1)),
        ("rows shared by teams", pair(6, 4480, 2, 1)),
        ("rows shared by teams, four stages", pair(3, 4480, 4, 1)),
    ];
    shapes.extend(more);
    shapes
}
