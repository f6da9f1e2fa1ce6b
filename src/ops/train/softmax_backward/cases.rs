//! Attention weights that the gradient is checked on.

use super::super::scores::cases::shapes;
use super::{Scores, SoftmaxBackward};
use crate::ops::*;

/// All shapes, with rows of weights that add up to 1, and behind them the logarithms of their sums.
pub(super) fn cases() -> Vec<Case<SoftmaxBackward>> {
    let case = |s: Scores| {
        let mut y = noise(82, s.words(), if s.softcap > 0.0 { s.softcap } else { 4.0 });
        for row in y.chunks_mut(s.stride) {
            row.iter_mut().for_each(|v| *v = v.exp());
            let total: f32 = row[..s.tokens].iter().sum();
            row.iter_mut().for_each(|v| *v /= total);
            if s.softcap > 0.0 {
                row[s.tokens] = total.ln();
            }
        }
        let d_y = noise(83, s.words(), 3.0);
        let data = vec![Data::f32(&y), Data::f32(&d_y)];
        Case::new("", SoftmaxBackward(s), data)
    };
    shapes().map(case).into()
}
