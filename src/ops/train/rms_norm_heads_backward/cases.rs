//! Queries and keys whose gradients are checked.

use super::RmsNormHeadsBackward;
use crate::ops::norm::norm_heads_shapes;
use crate::ops::*;

/// The shapes that the norm is checked on.
pub(super) fn cases() -> Vec<Case<RmsNormHeadsBackward>> {
    let case = |norm| {
        let op = RmsNormHeadsBackward(norm);
        let lengths = op.lengths();
        let data = [(91, 2.0), (92, 2.0), (93, 2.0), (94, 1.0)].into_iter();
        let data = data.zip(lengths);
        let data = data.map(|((seed, amplitude), len)| Data::f32(&noise(seed, len, amplitude)));
        Case::new("", op, data.collect())
    };
    norm_heads_shapes().map(case).into()
}
