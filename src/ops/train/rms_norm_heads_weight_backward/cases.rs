//! Queries and keys whose weights have gradients that are checked.

use super::RmsNormHeadsWeightBackward;
use crate::ops::norm::norm_heads_shapes;
use crate::ops::*;

/// The shapes that the norm is checked on.
pub(super) fn cases() -> Vec<Case<RmsNormHeadsWeightBackward>> {
    let case = |norm| {
        let op = RmsNormHeadsWeightBackward(norm);
        let lengths = op.lengths();
        let data = [(95, 1.0), (96, 3.0), (97, 3.0)].into_iter().zip(lengths);
        let data = data.map(|((seed, amplitude), len)| Data::f32(&noise(seed, len, amplitude)));
        Case::new("", op, data.collect())
    };
    norm_heads_shapes().map(case).into()
}
