//! Values that bf16 packing is checked and timed on.

use super::Bf16Pack;
use super::bf16;
use crate::ops::*;

fn case(note: &str, x: &[f32], offset: usize) -> Case<Bf16Pack> {
    let n = x.len();
    let op = Bf16Pack { n, offset, seed: 3 };
    let before = noise_u32(130, bf16::words(offset + n));
    Case::new(note, op, vec![Data::f32(x), Data::u32(&before)])
}

/// Several workgroups, values behind others, and special numbers.
pub(super) fn cases() -> Vec<Case<Bf16Pack>> {
    let special = [0.0, -0.0, f32::NAN, f32::INFINITY, -1e-44, 1.0, -3.1];
    vec![
        case("", &noise(131, 3000, 2.0), 0),
        case("", &noise(132, 301, 1e-9), 512),
        case("data=special", &special, 2),
    ]
}

/// The largest weight of a block.
pub(super) fn bench_cases() -> Vec<BenchCase<Bf16Pack>> {
    let op = Bf16Pack {
        n: bench::LARGEST_WEIGHT,
        offset: 0,
        seed: 1,
    };
    vec![bench::case("", op, &[Made::Floats, Made::Zeros])]
}
