//! What attention is checked and timed with.

use super::super::cases::{cache, complex, heads, mixed, out, run, shapes, table};
use super::*;
use crate::ops::Made;
use crate::ops::bench::case as bench_case;

/// Runs of one sequence, tokens of several at once, complex heads, and scores that are hard to sum.
pub(super) fn cases() -> Vec<Case<Attention>> {
    let mut cases: Vec<_> = shapes().into_iter().map(|h| case("", h, 2.0)).collect();
    let shared = mixed([3, 4, 2, 32], 141, Kv::F16);
    let behind = Heads {
        offset: 3,
        ..run([2, 3, 1, 64], 5)
    };
    for h in [
        run([3, 6, 2, 64], 130),
        run([2, 2, 2, 4], 9),
        shared,
        behind,
    ] {
        cases.push(case("", complex(h), 2.0));
    }
    let long = run([1, 2, 1, 64], 1200);
    cases.push(case("scores=small", long, 1.0));
    cases.push(case("scores=large", long, 30.0));
    cases.push(growing(long));
    cases
}

fn case(note: &str, h: Heads, amplitude: f32) -> Case<Attention> {
    let data = vec![
        Data::f32(&noise(51, h.rows() * h.qkv_row(), amplitude)),
        table(&h),
        cache(&h, 52),
        cache(&h, 53),
        out(&h, 54),
    ];
    Case::new(note, Attention(h), data)
}

/// Scores of one head that grow with the position, so that every tile raises the maximum, and of another that fall.
fn growing(h: Heads) -> Case<Attention> {
    let q: Vec<f32> = (0..h.qkv_row())
        .map(|i| if i < h.head_dim { 8.0 } else { -8.0 })
        .collect();
    let ramp = |t: usize| 0.2 + 0.8 * t as f32 / h.end() as f32;
    let k: Vec<f32> = (0..h.end() * h.cache_row())
        .map(|i| ramp(i / h.cache_row()))
        .collect();
    let data = vec![
        Data::f32(&q),
        table(&h),
        Data::f32(&k),
        Data::f32(&noise(54, k.len(), 1.0)),
        Data::Out(h.q_row()),
    ];
    Case::new("scores=growing", Attention(h), data)
}

pub(super) fn bench_cases() -> Vec<BenchCase<Attention>> {
    use Made::{Floats, Zeros};
    let data = [Floats, Zeros, Floats, Floats, Zeros];
    let all = heads().into_iter();
    all.map(|h| bench_case("", Attention(h), &data)).collect()
}
