//! Logits of students and teachers whose losses are checked.

use super::TokenDistill;
use crate::ops::sampling::IGNORED;
use crate::ops::*;

fn case(
    vocab: usize,
    offset: usize,
    targets: &[u32],
    share: f32,
    amplitude: f32,
) -> Case<TokenDistill> {
    let op = TokenDistill {
        tokens: targets.len() - offset,
        vocab,
        offset,
        factor: 0.37,
        share,
    };
    let data = vec![
        Data::u32(targets),
        Data::f32(&noise(43, op.tokens * vocab, amplitude)),
        Data::f32(&noise(44, op.tokens * vocab, amplitude)),
        losses(offset, targets.len()),
    ];
    Case::new("", op, data)
}

/// Losses before the run: none, or those of the tokens before `offset`, which stay.
fn losses(offset: usize, n: usize) -> Data {
    match offset {
        0 => Data::Out(n),
        _ => Data::f32(&noise(48, n, 1.0)),
    }
}

/// Several tokens, later ones with many logits, the teacher alone, and no teacher.
pub(super) fn cases() -> Vec<Case<TokenDistill>> {
    vec![
        case(300, 0, &[299, 0, IGNORED, 17], 0.5, 5.0),
        case(5000, 2, &[1, 2, 4999, 3], 0.9, 20.0),
        case(77, 0, &[76, 77, 5], 1.0, 1.0),
        case(2, 1, &[0, 1, 0, IGNORED], 0.0, 3.0),
    ]
}
