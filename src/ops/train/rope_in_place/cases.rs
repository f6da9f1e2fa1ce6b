//! Sequences whose rotation is checked.

use super::RopeInPlace;
use crate::ops::attention::noise_angles;
use crate::ops::*;

fn case(
    tokens: usize,
    [heads, rotated, head_dim]: [usize; 3],
    length: usize,
    inverse: bool,
) -> Case<RopeInPlace> {
    let op = RopeInPlace {
        tokens,
        heads,
        rotated,
        head_dim,
        length,
        inverse,
    };
    let data = vec![
        Data::f32(&noise_angles(length, head_dim)),
        Data::f32(&noise(45, tokens * heads * head_dim, 2.0)),
    ];
    Case::new("", op, data)
}

/// Two sequences, both directions, an odd number of pairs, and a sequence shorter than the table.
pub(super) fn cases() -> Vec<Case<RopeInPlace>> {
    vec![
        case(14, [8, 6, 16], 7, false),
        case(14, [8, 6, 16], 7, true),
        case(5, [3, 3, 10], 5, true),
        case(3, [4, 3, 64], 9, false),
    ]
}
