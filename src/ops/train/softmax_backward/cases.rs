//! Attention weights that the gradient is checked on.

use super::super::scores::cases::shapes;
use super::{Scores, SoftmaxBackward};
use crate::ops::*;

/// All shapes, with rows of weights that add up to 1.
pub(super) fn cases() -> Vec<Case<SoftmaxBackward>> {
    let case = |scores: Scores| {
        let mut y = noise(82, scores.words(), 1.0);
        for row in y.chunks_mut(scores.stride) {
            let total: f32 = row.iter().map(|v| v.abs()).sum();
            row.iter_mut().for_each(|v| *v = v.abs() / total);
        }
        let d_y = noise(83, scores.words(), 3.0);
        let data = vec![Data::f32(&y), Data::f32(&d_y)];
        Case::new("", SoftmaxBackward(scores), data)
    };
    shapes().map(case).into()
}
