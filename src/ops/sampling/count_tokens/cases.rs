//! What counting is checked and timed with.

use super::*;

pub(super) fn cases() -> Vec<Case<CountTokens>> {
    let steps = |count, offset, first| CountTokens {
        count,
        n: 50,
        slots: 3,
        offset,
        first,
        shared: false,
        prompt: false,
    };
    let prompt = |count, first| CountTokens {
        shared: true,
        prompt: true,
        ..steps(count, 1, first)
    };
    let all = [
        steps(1, 0, 0),
        steps(9, 4, 2),
        steps(300, 0, 1),
        prompt(20, 2),
        prompt(700, 0),
        CountTokens {
            shared: true,
            ..steps(40, 3, 4)
        },
    ];
    all.map(case).into()
}

/// Ids of which some come twice and some are none, in slots of which one is not there.
fn case(op: CountTokens) -> Case<CountTokens> {
    let ids = noise_u32(95, op.offset + op.count).into_iter();
    let ids: Vec<u32> = ids
        .map(|r| if r % 9 == 8 { u32::MAX } else { r / 9 % 52 })
        .collect();
    let how = |row: usize| PenaltySettings {
        slot: (row % 4) as u32,
        presence: if row % 5 == 1 { 0.0 } else { 0.5 },
        ..PenaltySettings::default()
    };
    let settings: Vec<u32> = (0..op.settings())
        .flat_map(|row| how(row).words())
        .collect();
    let history: Vec<u32> = noise_u32(96, op.slots * op.n)
        .into_iter()
        .map(|r| r % 3)
        .collect();
    let data = vec![Data::u32(&ids), Data::u32(&settings), Data::u32(&history)];
    Case::new("", op, data)
}

pub(super) fn bench_cases() -> Vec<BenchCase<CountTokens>> {
    use Made::{Words, Zeros};
    let op = CountTokens {
        count: 32,
        n: bench::VOCAB,
        slots: 32,
        offset: 0,
        first: 0,
        shared: false,
        prompt: false,
    };
    let how = |slot| PenaltySettings {
        slot,
        presence: 0.5,
        ..PenaltySettings::default()
    };
    let settings = (0..32).flat_map(|slot| how(slot).words()).collect();
    let ids = noise_u32(97, 32)
        .into_iter()
        .map(|r| r % bench::VOCAB as u32);
    vec![bench::case(
        "",
        op,
        &[Words(ids.collect()), Words(settings), Zeros],
    )]
}
