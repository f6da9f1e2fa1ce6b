//! Scores that the softmax is checked on.

use super::super::scores::cases::shapes;
use super::{Scores, Softmax};
use crate::ops::*;

fn case(note: &str, scores: Scores, amplitude: f32) -> Case<Softmax> {
    let data = vec![Data::f32(&noise(81, scores.words(), amplitude))];
    Case::new(note, Softmax(scores), data)
}

/// All shapes, and one whose weights are all but 0 and 1.
pub(super) fn cases() -> Vec<Case<Softmax>> {
    let mut cases: Vec<_> = shapes().map(|scores| case("", scores, 9.0)).into();
    cases.push(case("data=sharp", shapes()[1], 400.0));
    cases
}
