//! Gates that the gradient is checked on.

use super::SwigluBackward;
use crate::ops::*;

fn case(tokens: usize, n: usize, amplitude: f32, gelu: bool) -> Case<SwigluBackward> {
    let data = vec![
        Data::f32(&noise(35, tokens * n, 1.0)),
        Data::f32(&noise(36, 2 * tokens * n, amplitude)),
    ];
    Case::new("", SwigluBackward { tokens, n, gelu }, data)
}

/// Several tokens, an odd width, large gates, and one value.
pub(super) fn cases() -> Vec<Case<SwigluBackward>> {
    vec![
        case(3, 172, 6.0, false),
        case(2, 301, 1.0, false),
        case(1, 1000, 100.0, false),
        case(5, 1, 3.0, false),
        case(3, 172, 6.0, true),
    ]
}
