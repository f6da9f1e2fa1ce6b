//! Gradient of causal attention weights.

use super::scores::{Scores, SoftmaxParams};
use crate::ops::*;

mod cases;

/// Gradient of [`Softmax`](super::Softmax): `d_x = slope * y * (d_y - sum(y * d_y))` per row, 0 where a row does not see; the
/// slope is `scale`, or `scale * (1 - tanh^2)` where scores are capped.
///
/// Bindings: `y` [batch, tokens, stride] f32, the weights, and the logarithm of their sum where [`Scores`] have it; `d_y` the
/// same, in place: it becomes the gradient of the scores. Values of both that a row does not see are not read.
#[derive(Debug, Clone)]
pub struct SoftmaxBackward(pub Scores);

impl Op for SoftmaxBackward {
    const NAME: &'static str = "softmax_backward";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        train / "softmax_backward",
        "reduce"
    )];
    const BINDINGS: &'static [Binding] = &[read("y", Elem::F32), write("d_y", Elem::F32)];
    // the difference from the mean cancels a few bits in the cases
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
        vec![self.0.words(); 2]
    }

    fn cost(&self) -> Cost {
        self.0.cost(3.0)
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (y, d): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let s = &self.0;
        for (y, (i, (d, _))) in y.chunks_exact(s.stride).zip(s.rows(d)) {
            let seen = s.seen(i);
            let pairs = y[seen.clone()].iter().zip(&d[seen.clone()]);
            let mean: f64 = pairs.map(|(&y, &d)| f64::from(y) * f64::from(d)).sum();
            for j in 0..s.tokens {
                let weight = f64::from(y[j]);
                let gradient = s.slope(weight, y) * weight * (f64::from(d[j]) - mean);
                d[j] = if seen.contains(&j) {
                    gradient as f32
                } else {
                    0.0
                };
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (y, d): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let s = &self.0;
        let rows = y.chunks_exact(s.stride).zip(s.rows(d)).collect();
        cpu::each_worth(rows, s.tokens / 2, |(y, (i, (d, _)))| {
            let seen = s.seen(i);
            d[..seen.start].fill(0.0);
            d[seen.end..].fill(0.0);
            let (weights, d) = (&y[seen.clone()], &mut d[seen]);
            let mean = cpu::dot(weights, d);
            for (d, &weight) in d.iter_mut().zip(weights) {
                let slope = match s.softcap > 0.0 {
                    true => s.slope(weight.into(), y) as f32,
                    false => s.scale,
                };
                *d = slope * weight * (*d - mean);
            }
        });
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }
}
