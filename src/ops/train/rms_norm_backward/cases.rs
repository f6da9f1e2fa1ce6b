//! Tokens whose gradients are checked.

use super::RmsNormBackward;
use crate::ops::*;

fn case(tokens: usize, n: usize, accumulate: bool) -> Case<RmsNormBackward> {
    let op = RmsNormBackward {
        tokens,
        n,
        eps: 1e-5,
        accumulate,
    };
    let data = vec![
        Data::f32(&noise(91, tokens * n, 2.0)),
        Data::f32(&noise(92, n, 2.0)),
        Data::f32(&noise(93, tokens * n, 1.0)),
        Data::f32(&noise(94, tokens * n, 1.0)),
        Data::Out(tokens),
    ];
    Case::new("", op, data)
}

/// Several tokens, an odd width, a wide one, and two values.
pub(super) fn cases() -> Vec<Case<RmsNormBackward>> {
    vec![
        case(5, 288, true),
        case(3, 75, false),
        case(2, 5003, true),
        case(4, 2, false),
    ]
}
