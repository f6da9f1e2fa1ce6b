//! Causal attention weights from scores.

use super::scores::{Scores, SoftmaxParams};
use crate::ops::*;

mod cases;

/// Attention weights: each row of scores, scaled by `head_dim^-1/2`, becomes its softmax over the positions up to
/// its own, and 0 beyond.
///
/// Binding: `x` [batch, tokens, stride] f32, in place.
#[derive(Debug, Clone)]
pub struct Softmax(pub Scores);

impl Op for Softmax {
    const NAME: &'static str = "softmax";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        train / "softmax",
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
        let s = &self.0;
        for (i, row) in x
            .chunks_exact_mut(s.stride)
            .take(s.batch * s.tokens)
            .enumerate()
        {
            let seen = i % s.tokens + 1;
            let scaled: Vec<f64> = row[..seen]
                .iter()
                .map(|&v| f64::from(v) * s.scale())
                .collect();
            let top = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scaled.iter().map(|v| (v - top).exp()).sum();
            row[..s.tokens].fill(0.0);
            for (weight, v) in row.iter_mut().zip(scaled) {
                *weight = ((v - top).exp() / total) as f32;
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let x: &mut [f32] = b.write(0);
        let (s, scale) = (&self.0, self.0.scale() as f32);
        let rows = x.chunks_exact_mut(s.stride).take(s.batch * s.tokens);
        let rows = rows.enumerate().collect();
        cpu::each_worth(rows, 2 * s.tokens, |(i, row): (usize, &mut [f32])| {
            let (seen, hidden) = row[..s.tokens].split_at_mut(i % s.tokens + 1);
            hidden.fill(0.0);
            cpu::softmax(scale, seen);
        });
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }
}
