//! Gradients whose norms are checked and timed.

use super::GradNorm;
use crate::ops::*;

fn case(note: &str, offset: usize, x: &[f32]) -> Case<GradNorm> {
    let n = x.len();
    let op = GradNorm { n, offset };
    let results = offset + op.partials();
    // results before the offset are another tensor's, and stay
    let (squares, largest) = match offset {
        0 => (Data::Out(results), Data::Out(results)),
        _ => (
            Data::f32(&noise(104, results, 1.0)),
            Data::u32(&noise_u32(105, results)),
        ),
    };
    Case::new(note, op, vec![Data::f32(x), squares, largest])
}

/// One value, several chunks, chunks larger than the smallest, and infinities.
pub(super) fn cases() -> Vec<Case<GradNorm>> {
    let mut bad = noise(101, 9000, 1.0);
    (bad[5000], bad[8999]) = (f32::INFINITY, f32::NEG_INFINITY);
    vec![
        case("", 0, &[-3.0]),
        case("", 5, &noise(102, 20_000, 2.0)),
        case("", 0, &noise(103, 2_300_001, 1e-3)),
        case("data=infinities", 1, &bad),
    ]
}

/// The largest weight of a block.
pub(super) fn bench_cases() -> Vec<BenchCase<GradNorm>> {
    let op = GradNorm {
        n: bench::LARGEST_WEIGHT,
        offset: 0,
    };
    vec![bench::case(
        "",
        op,
        &[Made::Floats, Made::Zeros, Made::Zeros],
    )]
}
