//! What log-likelihoods are checked and timed with.

use super::*;

pub(super) fn cases() -> Vec<Case<TokenNll>> {
    vec![
        case("", 300, [0, 0], &[299, 0, IGNORED, 17], 5.0),
        case("", 5000, [2, 1], &[1, 2, 4999, 3], 20.0),
        case("", 77, [0, 4], &[76, 77, 5], 1.0),
        case("", 2, [1, 0], &[0, 1, 0, IGNORED], 3.0),
        case("logits=large", 600, [0, 0], &[0, 599], 90.0),
    ]
}

fn case(
    note: &str,
    vocab: usize,
    [first, offset]: [usize; 2],
    targets: &[u32],
    amplitude: f32,
) -> Case<TokenNll> {
    let op = TokenNll {
        rows: targets.len() - first,
        vocab,
        first,
        offset,
    };
    let data = vec![
        Data::u32(targets),
        Data::f32(&noise(19, op.rows * vocab, amplitude)),
        match offset {
            0 => Data::Out(op.rows),
            _ => Data::f32(&noise(20, offset + op.rows, 1.0)),
        },
    ];
    Case::new(note, op, data)
}

pub(super) fn bench_cases() -> Vec<BenchCase<TokenNll>> {
    use Made::{Floats, Zeros};
    let op = TokenNll {
        rows: 256,
        vocab: bench::VOCAB,
        first: 0,
        offset: 0,
    };
    vec![bench::case("", op, &[Zeros, Floats, Zeros])]
}
