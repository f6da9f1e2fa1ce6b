//! Shares of quantized weights that are checked.

use super::Lerp;
use crate::ops::*;

fn case(n: usize, share: f32) -> Case<Lerp> {
    let data = vec![Data::f32(&noise(45, n, 1.0)), Data::f32(&noise(46, n, 1.0))];
    Case::new("", Lerp { n, share }, data)
}

/// One value, several workgroups, and a share of nothing.
pub(super) fn cases() -> Vec<Case<Lerp>> {
    vec![case(1, 0.5), case(1000, 0.3), case(300, 0.0)]
}
