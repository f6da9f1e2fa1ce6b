//! Shapes that the softmax and its gradient are checked on.

use super::Scores;

/// One token, several heads, padded rows, and rows wider than a workgroup; a window, and one with bounded scores.
pub(in crate::ops::train) fn shapes() -> [Scores; 6] {
    let scores = |batch, tokens, stride, scale| Scores {
        batch,
        tokens,
        stride,
        scale,
        window: usize::MAX,
        softcap: 0.0,
    };
    let windowed = |window, softcap, scores| Scores {
        window,
        softcap,
        ..scores
    };
    [
        scores(3, 1, 1, 0.5),
        scores(4, 37, 37, 0.125),
        scores(2, 70, 72, 0.25),
        scores(1, 300, 300, 0.088),
        windowed(7, 0.0, scores(1, 300, 300, 0.3)),
        windowed(20, 1.5, scores(2, 70, 71, 0.25)),
    ]
}
