//! Tokens whose gradients are checked.

use super::RmsNormWeightBackward;
use crate::ops::*;

fn case(tokens: usize, n: usize) -> Case<RmsNormWeightBackward> {
    let data = vec![
        Data::f32(&noise(95, tokens * n, 2.0)),
        Data::f32(&noise(96, tokens * n, 1.0)),
        Data::f32(&noise(97, tokens, 1.0)),
        Data::f32(&noise(98, n, 3.0)),
    ];
    Case::new("", RmsNormWeightBackward { tokens, n }, data)
}

/// Several tokens, one of an odd width, and many.
pub(super) fn cases() -> Vec<Case<RmsNormWeightBackward>> {
    vec![case(37, 288), case(1, 75), case(500, 20)]
}
