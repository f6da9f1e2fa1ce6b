//! Values that packing in 8 bits is checked and timed on.

use super::super::block8::{Range, words};
use super::Block8Pack;
use crate::ops::*;

fn case(note: &str, positive: bool, x: &[f32], [offset, total]: [usize; 2]) -> Case<Block8Pack> {
    let range = Range {
        n: x.len(),
        offset,
        total,
        positive,
    };
    let before = noise_u32(140, words(total));
    let op = Block8Pack { range, seed: 5 };
    Case::new(note, op, vec![Data::f32(x), Data::u32(&before)])
}

/// Values of many orders of magnitude.
fn uneven(seed: u32, n: usize) -> Vec<f32> {
    let sizes = noise(seed + 50, n, 20.0);
    let values = noise(seed, n, 1.0).into_iter().zip(sizes);
    values.map(|(v, size)| v * size.exp2()).collect()
}

/// Several workgroups, some blocks of many, the last ones of a tensor, and special numbers.
pub(super) fn cases() -> Vec<Case<Block8Pack>> {
    let wide = uneven(141, 1500);
    let squares: Vec<f32> = uneven(142, 1400).iter().map(|v| v * v).collect();
    let mut special = vec![0.0; 300];
    special[..4].copy_from_slice(&[-1e-44, 2e-38, -1.5e-38, 0.0]);
    special[256..260].copy_from_slice(&[1.9999999, -1e-30, 3e-5, 1e-5]);
    vec![
        case("", false, &wide, [0, 1500]),
        case("", false, &wide[..512], [256, 1000]),
        case("", true, &squares, [0, 1400]),
        case("", true, &squares[..77], [768, 845]),
        case("data=special", false, &special, [0, 300]),
    ]
}

/// First and second moments of the largest weight of a block.
pub(super) fn bench_cases() -> Vec<BenchCase<Block8Pack>> {
    let each = [false, true].map(|positive| {
        let range = Range::whole(bench::LARGEST_WEIGHT, positive);
        let op = Block8Pack { range, seed: 1 };
        bench::case("", op, &[Made::Floats, Made::Zeros])
    });
    each.into()
}
