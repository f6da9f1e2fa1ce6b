//! What the rotary embedding is checked and timed with.

use super::super::cases::{angles, cache, heads, shapes, table};
use super::*;
use crate::ops::Made;
use crate::ops::bench::case as bench_case;

/// Runs of one sequence, and tokens of several at once.
pub(super) fn cases() -> Vec<Case<Rope>> {
    shapes().into_iter().map(case).collect()
}

fn case(h: Heads) -> Case<Rope> {
    let data = vec![
        Data::f32(&noise(42, h.rows() * h.qkv_row(), 2.0)),
        angles(&h),
        table(&h),
        cache(&h, 43),
        cache(&h, 44),
    ];
    Case::new("", Rope(h), data)
}

pub(super) fn bench_cases() -> Vec<BenchCase<Rope>> {
    use Made::{Floats, Zeros};
    let data = [Floats, Floats, Zeros, Zeros, Zeros];
    let all = heads().into_iter();
    all.map(|h| bench_case("", Rope(h), &data)).collect()
}
