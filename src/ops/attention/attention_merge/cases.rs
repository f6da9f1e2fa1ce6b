//! What merging ranges is checked and timed with.

use super::super::attention_split::split_heads;
use super::super::cases::{out, run};
use super::*;
use crate::ops::Made;
use crate::ops::bench::case as bench_case;

pub(super) fn cases() -> Vec<Case<AttentionMerge>> {
    let mut behind = case("scores=near", (3, 16, 4), 1.0);
    behind.op.heads.offset = 5;
    behind.data[1] = Data::f32(&noise(60, behind.op.lengths()[1], 1.0));
    vec![
        behind,
        case("scores=near", (3, 64, 8), 1.0),
        case("scores=near", (2, 10, 1), 1.0),
        case("scores=far", (4, 128, 5), 20.0),
        case("scores=negative", (1, 2, 7), -9.0),
        whole_halves(case("", (3, 16, 4), 1.0), 0),
        whole_halves(case("", (5, 64, 3), 1.0), 2),
    ]
}

/// The same of complex heads, behind rows of others.
fn whole_halves(mut case: Case<AttentionMerge>, offset: usize) -> Case<AttentionMerge> {
    case.op.heads.complex = true;
    case.op.heads.offset = offset;
    case.data[1] = out(&case.op.heads, 61);
    case
}

/// Two tokens; some of the later ranges are not reached.
fn case(
    note: &str,
    (heads, head_dim, splits): (usize, usize, usize),
    spread: f32,
) -> Case<AttentionMerge> {
    let heads = run([2, heads, heads, head_dim], 1000);
    let words = AttentionSplit::partial_words(&heads, splits);
    let mut partials = noise(55, words, 3.0);
    for (i, part) in partials.chunks_exact_mut(2 + head_dim).enumerate() {
        part[0] *= spread;
        part[1] = 1.0 + part[1].abs();
        if i % splits > 0 && i % 3 == 2 {
            part.fill(0.0);
        }
    }
    let data = vec![Data::f32(&partials), Data::Out(2 * heads.q_row())];
    Case::new(note, AttentionMerge { heads, splits }, data)
}

pub(super) fn bench_cases() -> Vec<BenchCase<AttentionMerge>> {
    use Made::{Floats, Zeros};
    let each = |AttentionSplit { heads, splits, .. }| {
        let note = format!("kv_heads={}", heads.kv_heads);
        bench_case(note, AttentionMerge { heads, splits }, &[Floats, Zeros])
    };
    split_heads().map(each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bits of a token with one range do not change by empty ranges beside it.
    #[test]
    fn empty_ranges_change_nothing() {
        let merged = |splits: usize| {
            let op = case("", (3, 16, splits), 1.0).op;
            let mut partials = vec![0.0; AttentionSplit::partial_words(&op.heads, splits)];
            let groups = partials.chunks_exact_mut(splits * 18);
            for (i, group) in groups.enumerate() {
                group[..18].copy_from_slice(&noise(i as u32, 18, 2.0));
                group[1] = 1.7;
            }
            let mut out = vec![0u32; op.lengths()[1]];
            let words: Vec<u32> = partials.iter().map(|v: &f32| v.to_bits()).collect();
            let mut b = Bindings::new();
            b.push_read(&words);
            b.push_write(&mut out);
            op.host(&mut b);
            out
        };
        assert_eq!(merged(1), merged(4));
    }
}
