//! What split attention is checked and timed with.

use super::super::cases::{RANGES, cache, complex, heads, mixed, run, shapes, table};
use super::*;
use crate::ops::Made;
use crate::ops::bench::case as bench_case;

/// The shapes of the wing with several numbers of ranges, and tokens of a table that are cut into different numbers of them.
pub(super) fn cases() -> Vec<Case<AttentionSplit>> {
    let splits = [3, 2, 1, 5, 2, 4].into_iter().cycle();
    let all = shapes().into_iter().zip(splits);
    let least = |h: &Heads| (h.most_seen() / 3).max(1);
    let mut cases: Vec<_> = all.map(|(h, splits)| case(h, splits, least(&h))).collect();
    cases.push(case(mixed([4, 2, 1, 64], 700, Kv::F16), 7, 100));
    cases.push(case(mixed([3, 4, 2, 32], 515, Kv::F32), 4, 128));
    cases.push(case(complex(run([3, 6, 2, 64], 150)), 3, 50));
    cases
}

fn case(heads: Heads, splits: usize, least: usize) -> Case<AttentionSplit> {
    let data = vec![
        Data::f32(&noise(51, heads.rows() * heads.qkv_row(), 2.0)),
        table(&heads),
        cache(&heads, 52),
        cache(&heads, 53),
        Data::Out(AttentionSplit::partial_words(&heads, splits)),
    ];
    let op = AttentionSplit {
        heads,
        splits,
        least,
    };
    Case::new("", op, data)
}

/// Those steps that are split.
pub(in crate::ops::attention) fn split_heads() -> impl Iterator<Item = AttentionSplit> {
    let all = heads().into_iter().map(|h| AttentionSplit::of(h, RANGES));
    all.filter(|split| split.splits > 1)
}

pub(super) fn bench_cases() -> Vec<BenchCase<AttentionSplit>> {
    use Made::{Floats, Zeros};
    let data = [Floats, Zeros, Floats, Floats, Zeros];
    split_heads()
        .map(|split| bench_case("", split, &data))
        .collect()
}
