//! The order of logits: -0 equals +0, and NaN is worse than everything.

use std::cmp::Ordering;

/// The better one first.
pub(super) fn by_value(a: f32, b: f32) -> Ordering {
    let known = a.is_nan().cmp(&b.is_nan());
    known.then(b.partial_cmp(&a).unwrap_or(Ordering::Equal))
}
