//! What a step of attention is checked and timed with.

use super::super::cases::{RANGES, angles, cache, complex, mixed, out, run, step_heads, table};
use super::super::cases::{ringed, rotated, windowed};
use super::*;
use crate::ops::Made;
use crate::ops::bench::{BENCH_PROCESSORS, DEPTH, case as bench_case};

/// One token alone in a slot, and the next tokens of several sequences that are cut into different numbers of ranges.
pub(super) fn cases() -> Vec<Case<AttentionStep>> {
    let half = |h| Heads { kv: Kv::F16, ..h };
    let offset = |h| Heads { offset: 3, ..h };
    let in_slot = |slot, h: Heads| {
        let first = h.end() - 1;
        let positions = Positions::Run { slot, first };
        Heads { positions, ..h }
    };
    let rows_of_a_round = |row, h: Heads| {
        let (slots, end) = (h.tokens + 1, h.end());
        let positions = Positions::Table { row, slots, end };
        Heads { positions, ..h }
    };
    let ranges = run([1, 4, 2, 64], 517);
    let many = mixed([3, 4, 2, 16], 78, Kv::F16);
    let mut cases = vec![
        case(run([1, 8, 4, 8], 0), 1, 132),
        case(half(run([1, 2, 2, 64], 0)), 1, 132),
        case(run([1, 6, 2, 64], 21), 1, 132),
        case(half(run([1, 4, 4, 64], 150)), 1, 132),
        case(half(run([1, 4, 4, 64], 150)), 1, 2), // a device of few processors
        case(in_slot(2, run([1, 4, 2, 32], 90)), 1, 132),
        case(ranges, 3, 132),
        case(offset(ranges), 3, 132),
        case(half(in_slot(1, run([1, 6, 1, 32], 1000))), 7, 132),
        case(run([1, 2, 2, 16], 2), 3, 132), // more ranges than positions
        case(run([1, 8, 2, 32], 700), 17, 132), // more workgroups than processors
        case(many, 1, 132),
        case(many, 1, 2),
        case(offset(many), 1, 132),
        case(mixed([2, 2, 1, 64], 301, Kv::F32), 2, 132),
        case(
            rows_of_a_round(6, mixed([4, 4, 2, 64], 700, Kv::F16)),
            6,
            132,
        ),
        case(rows_of_a_round(2, mixed([5, 3, 1, 64], 420, Kv::F32)), 3, 2),
        case(mixed([3, 48, 8, 16], 41, Kv::F16), 1, 132), // more heads than processors
        case(complex(run([1, 6, 2, 64], 21)), 1, 132),
        case(complex(half(run([1, 4, 4, 8], 150))), 1, 2),
        case(complex(ranges), 3, 132),
        case(complex(offset(many)), 1, 132),
        // teams with invocations to spare
        case(half(run([1, 4, 2, 48], 150)), 1, 132),
        case(complex(run([1, 2, 1, 24], 90)), 2, 132),
        case(offset(mixed([3, 4, 2, 40], 78, Kv::F32)), 1, 132),
    ];
    cases.extend(other_models());
    cases
}

/// Windows of a part of a slot, of a token alone, and of one range of some tokens and two of others, and in rings; a part of
/// the values rotated, and none; pairs of neighbours; bounded scores; norms of heads, in teams with invocations to spare and without.
fn other_models() -> [Case<AttentionStep>; 6] {
    let half = |h| Heads { kv: Kv::F16, ..h };
    let part = rotated(Rotation::halves(24), half(run([1, 4, 2, 48], 150)));
    let alone = rotated(Rotation::NONE, run([1, 2, 1, 16], 60));
    let some = rotated(Rotation::neighbours(24), mixed([3, 4, 2, 40], 78, Kv::F32));
    [
        normed(case(windowed(40, 0.5, part), 2, 132)),
        normed(case(windowed(1, 0.0, alone), 1, 132)),
        case(windowed(50, 0.0, some), 2, 2),
        normed(case(ringed(0, windowed(40, 0.5, part)), 2, 132)),
        case(ringed(7, windowed(1, 0.0, alone)), 1, 132),
        case(ringed(1, windowed(50, 0.0, some)), 2, 2),
    ]
}

/// The same step with norms of heads.
fn normed(case: Case<AttentionStep>) -> Case<AttentionStep> {
    let op = case.op.normed(1e-3);
    let mut data = case.data;
    for (weight, seed) in data[6..].iter_mut().zip(61..) {
        *weight = Data::f32(&noise(seed, op.heads.head_dim, 2.0));
    }
    Case::new("", op, data)
}

fn case(heads: Heads, splits: usize, processors: usize) -> Case<AttentionStep> {
    let op = AttentionStep {
        heads,
        splits,
        least: (heads.most_seen() / splits).max(1),
        processors,
        norm: None,
    };
    let words = op.lengths();
    let results = match splits {
        1 => out(&heads, 59),
        _ => Data::Out(words[5]),
    };
    let data = vec![
        Data::f32(&noise(55, words[0], 2.0)),
        angles(&heads),
        table(&heads),
        cache(&heads, 56),
        cache(&heads, 57),
        results,
        Data::f32(&[0.0; 4]),
        Data::f32(&[0.0; 4]),
    ];
    Case::new("", op, data)
}

pub(super) fn bench_cases() -> Vec<BenchCase<AttentionStep>> {
    use Made::{Floats, Halves, Words, Zeros};
    let mut all = Vec::new();
    for (tokens, kv_heads, position) in [
        (1, 32, 64),
        (1, 32, DEPTH - 1),
        (1, 8, DEPTH - 1),
        (8, 32, 511),
    ] {
        let one = step_heads(1, kv_heads, position);
        let (rows, positions) = match tokens {
            1 => (Zeros, one.positions),
            slots => {
                let rows = (0..slots as u32).flat_map(|slot| [slot, position as u32]);
                let end = position + 1;
                let table = Positions::Table { row: 0, slots, end };
                (Words(rows.collect()), table)
            }
        };
        let heads = Heads {
            tokens,
            positions,
            ..one
        };
        let op = AttentionStep::of(heads, RANGES, BENCH_PROCESSORS);
        let data = [Floats, Floats, rows, Halves, Halves, Zeros, Zeros, Zeros];
        all.push(bench_case("", op, &data));
    }
    all
}
