//! Shapes that the softmax and its gradient are checked on.

use super::Scores;

/// One token, several heads, padded rows, and rows wider than a workgroup.
pub(in crate::ops::train) fn shapes() -> [Scores; 4] {
    let scores = |batch, tokens, stride, head_dim| Scores {
        batch,
        tokens,
        stride,
        head_dim,
    };
    [
        scores(3, 1, 1, 4),
        scores(4, 37, 37, 64),
        scores(2, 70, 72, 16),
        scores(1, 300, 300, 128),
    ]
}
