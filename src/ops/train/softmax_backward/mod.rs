//! Gradient of causal attention weights.

use super::scores::{Scores, SoftmaxParams};
use crate::ops::*;

mod cases;

/// Gradient of [`Softmax`](super::Softmax): `d_x = scale * y * (d_y - sum(y * d_y))` per row, 0 beyond the row's own position.
///
/// Bindings: `y` [batch, tokens, stride] f32, the weights; `d_y` the same, in place: it becomes the gradient of the
/// scores. Values of both that lie beyond a row's own position are not read.
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
        let rows = y.chunks_exact(s.stride).zip(d.chunks_exact_mut(s.stride));
        for (i, (y, d)) in rows.take(s.batch * s.tokens).enumerate() {
            let seen = i % s.tokens + 1;
            let pairs = y[..seen].iter().zip(&d[..seen]);
            let mean: f64 = pairs.map(|(&y, &d)| f64::from(y) * f64::from(d)).sum();
            for j in 0..s.tokens {
                let gradient = s.scale() * f64::from(y[j]) * (f64::from(d[j]) - mean);
                d[j] = if j < seen { gradient as f32 } else { 0.0 };
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (y, d): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let (s, scale) = (&self.0, self.0.scale() as f32);
        let rows = y.chunks_exact(s.stride).zip(d.chunks_exact_mut(s.stride));
        let rows = rows.take(s.batch * s.tokens).enumerate().collect();
        cpu::each_worth(
            rows,
            s.tokens / 2,
            |(i, (y, d)): (usize, (&[f32], &mut [f32]))| {
                let (seen, hidden) = d[..s.tokens].split_at_mut(i % s.tokens + 1);
                hidden.fill(0.0);
                let mean = cpu::dot(&y[..seen.len()], seen);
                for (d, y) in seen.iter_mut().zip(y) {
                    *d = scale * y * (*d - mean);
                }
            },
        );
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }
}
