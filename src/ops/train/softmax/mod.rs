//! Causal attention weights from scores.

use super::scores::{Scores, SoftmaxParams};
use crate::ops::*;

mod cases;

/// Attention weights: each row of scores, multiplied by `scale` and capped, becomes its softmax over the positions that it
/// sees, and 0 elsewhere.
///
/// Binding: `x` [batch, tokens, stride] f32, in place.
#[derive(Debug, Clone)]
pub struct Softmax(pub Scores);

impl Op for Softmax {
    const NAME: &'static str = "softmax";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        train / "softmax",
        "softcap",
        "reduce",
        "reduce_max"
    )];
    const BINDINGS: &'static [Binding] = &[write("x", Elem::F32)];
    // exponents up to 60 are off by as many roundings, and exp by 3 + 2 |x| ULP; weights that count are off by less
    const AGREE: Agree = Agree::Nmse(1e-11);
    type Params = SoftmaxParams;

    fn shape(&self) -> String {
        self.0.shape()
    }

    fn params(&self) -> SoftmaxParams {
        self.0.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        self.0.overrides()
    }

    fn grid(&self) -> Grid {
        self.0.grid()
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.0.words()]
    }

    fn cost(&self) -> Cost {
        self.0.cost(2.0)
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let x: &mut [f32] = b.write(0);
        let (s, cap) = (&self.0, f64::from(self.0.softcap));
        for (i, (row, behind)) in s.rows(x) {
            let seen = s.seen(i);
            let score = |v: &f32| match f64::from(*v) * f64::from(s.scale) {
                score if cap > 0.0 => cap * (score / cap).tanh(),
                score => score,
            };
            let scores: Vec<f64> = row[seen.clone()].iter().map(score).collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|v| (v - top).exp()).sum();
            row.fill(0.0);
            for (weight, v) in row[seen].iter_mut().zip(scores) {
                *weight = ((v - top).exp() / total) as f32;
            }
            if cap > 0.0 {
                behind[0] = (top + total.ln()) as f32;
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let x: &mut [f32] = b.write(0);
        let s = &self.0;
        let rows = s.rows(x).collect();
        cpu::each_worth(rows, 2 * s.tokens, |(i, (row, behind))| {
            let seen = s.seen(i);
            row[..seen.start].fill(0.0);
            row[seen.end..].fill(0.0);
            let row = &mut row[seen];
            if s.softcap > 0.0 {
                cpu::soft_capped(s.scale, s.softcap, row);
                behind[0] = cpu::softmax(1.0, row);
            } else {
                cpu::softmax(s.scale, row);
            }
        });
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }
}
