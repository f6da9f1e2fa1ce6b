//! What penalties are checked and timed with.

use super::*;

/// How rows are penalized: nothing, each thing alone, all of them, and slots that a table does not have.
fn ways() -> Vec<PenaltySettings> {
    let none = PenaltySettings::default();
    let all = PenaltySettings {
        slot: 1,
        repetition: 1.3,
        presence: 0.4,
        frequency: 0.3,
        biased: true,
        masked: true,
    };
    vec![
        none,
        PenaltySettings {
            repetition: 1.7,
            ..none
        },
        PenaltySettings {
            presence: -0.7,
            slot: 2,
            ..none
        },
        PenaltySettings {
            frequency: 0.1,
            ..none
        },
        PenaltySettings {
            biased: true,
            slot: 1,
            ..none
        },
        PenaltySettings {
            masked: true,
            ..none
        },
        all,
        PenaltySettings {
            repetition: 0.6,
            slot: 0,
            ..all
        },
        PenaltySettings { slot: 3, ..all },
    ]
}

pub(super) fn cases() -> Vec<Case<Penalize>> {
    let ways = ways();
    let mut cases = vec![
        case("", &ways, 1500, [3, 3, 3]),
        case("", &ways, 77, [3, 2, 1]),
        case("", &ways[1..2], 5000, [1, 0, 0]),
        case("", &ways[5..6], 33, [0, 0, 1]),
    ];
    let mut odd = case("data=odd", &ways[6..], 300, [3, 3, 3]);
    let values = [
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        1e-40,
        -1e-38,
        f32::MAX,
    ];
    let logits = |i: usize| values[i % values.len()];
    odd.data[4] = Data::f32(&(0..3 * 300).map(logits).collect::<Vec<_>>());
    let biases = |i: usize| values[i / values.len() % values.len()];
    odd.data[2] = Data::f32(&(0..3 * 300).map(biases).collect::<Vec<_>>());
    cases.push(odd);
    cases
}

/// Rows of these settings, with as many slots of history, biases and masks.
fn case(note: &str, ways: &[PenaltySettings], n: usize, slots: [usize; 3]) -> Case<Penalize> {
    let [history_slots, bias_slots, mask_slots] = slots;
    let op = Penalize {
        rows: ways.len(),
        n,
        history_slots,
        bias_slots,
        mask_slots,
    };
    let settings: Vec<u32> = ways.iter().flat_map(PenaltySettings::words).collect();
    let sparse = |seed: u32, word: fn(u32) -> u32| -> Vec<u32> {
        let each = noise_u32(seed, history_slots.max(bias_slots).max(1) * n);
        let word = |random: u32| {
            if random.is_multiple_of(3) {
                word(random >> 8)
            } else {
                0
            }
        };
        each.into_iter().map(word).collect()
    };
    let history = sparse(91, |r| r % 7 + (r >> 8) % 2 * IN_PROMPT);
    let bias = sparse(92, |r| (r as f32 / 1e6 - 8.0).to_bits());
    let data = vec![
        Data::u32(&settings),
        Data::u32(&history[..(history_slots * n).max(1)]),
        Data::u32(&bias[..(bias_slots * n).max(1)]),
        Data::u32(&noise_u32(93, (mask_slots * n.div_ceil(32)).max(1))),
        Data::f32(&noise(94, op.rows * n, 12.0)),
    ];
    Case::new(note, op, data)
}

pub(super) fn bench_cases() -> Vec<BenchCase<Penalize>> {
    use Made::{Bits, Floats, Words, Zeros};
    let each = |rows: usize| {
        let op = Penalize {
            rows,
            n: bench::VOCAB,
            history_slots: rows,
            bias_slots: rows,
            mask_slots: rows,
        };
        let how = |slot| PenaltySettings { slot, ..ways()[6] };
        let settings = (0..rows as u32).flat_map(|slot| how(slot).words());
        bench::case(
            "",
            op,
            &[Words(settings.collect()), Zeros, Zeros, Bits, Floats],
        )
    };
    [1, 32].map(each).into()
}
