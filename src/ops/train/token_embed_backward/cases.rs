//! Tokens whose embedding gradients are checked.

use super::{TokenEmbedBackward, tokens_by_id};
use crate::ops::*;

fn case(hidden: usize, vocab: usize, ids: &[u32]) -> Case<TokenEmbedBackward> {
    let (order, runs) = tokens_by_id(ids);
    let op = TokenEmbedBackward {
        tokens: ids.len(),
        hidden,
        runs: runs.len(),
        vocab,
    };
    let data = vec![
        Data::f32(&noise(15, op.tokens * hidden, 1.0)),
        Data::u32(&order),
        Data::u32(runs.as_flattened()),
        Data::f32(&noise(16, vocab * hidden, 1.0)),
    ];
    Case::new("", op, data)
}

/// Repeated ids, few ids among many tokens, and one token.
pub(super) fn cases() -> Vec<Case<TokenEmbedBackward>> {
    let many: Vec<u32> = noise_u32(17, 200).iter().map(|w| w % 11).collect();
    vec![
        case(288, 20, &[7, 3, 7, 0, 7, 19]),
        case(301, 12, &many),
        case(5, 3, &[2]),
    ]
}
