//! Sequences whose rotation is checked.

use super::RopeInPlace;
use crate::ops::attention::{Rotation, noise_angles};
use crate::ops::*;

fn case(sizes: [usize; 5], inverse: bool, rotation: Rotation) -> Case<RopeInPlace> {
    let [tokens, heads, rotated, head_dim, length] = sizes;
    let op = RopeInPlace {
        tokens,
        heads,
        rotated,
        head_dim,
        rotation,
        length,
        inverse,
    };
    let data = vec![
        Data::f32(&noise_angles(length, rotation.width)),
        Data::f32(&noise(45, tokens * heads * head_dim, 2.0)),
    ];
    Case::new("", op, data)
}

/// Two sequences, both directions, an odd number of pairs, a sequence shorter than the table, a part of the values, and pairs
/// of neighbours.
pub(super) fn cases() -> Vec<Case<RopeInPlace>> {
    let (halves, neighbours) = (Rotation::halves, Rotation::neighbours);
    vec![
        case([14, 8, 6, 16, 7], false, halves(16)),
        case([14, 8, 6, 16, 7], true, halves(16)),
        case([5, 3, 3, 10, 5], true, halves(10)),
        case([3, 4, 3, 64, 9], false, halves(64)),
        case([14, 8, 6, 16, 7], true, halves(12)),
        case([14, 8, 6, 16, 7], false, neighbours(10)),
    ]
}
