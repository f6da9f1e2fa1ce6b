//! Gradient of the norms of queries and keys.

use crate::ops::norm::{RmsNormHeads, RmsNormHeadsParams};
use crate::ops::*;

mod cases;

/// Gradient of [`RmsNormHeads`] in its input, in place; what each value adds to the gradient of its weight is left for
/// [`RmsNormHeadsWeightBackward`](super::RmsNormHeadsWeightBackward).
///
/// Bindings: `x` as the norm's `qkv` was before it: its queries and keys become those shares; `q_weight` and `k_weight` of the
/// norm; `d` like `x`, the gradient of what the norm gave, whose queries and keys become that of what it read.
#[derive(Debug, Clone)]
pub struct RmsNormHeadsBackward(pub RmsNormHeads);

impl Op for RmsNormHeadsBackward {
    const NAME: &'static str = "rms_norm_heads_backward";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        train / "rms_norm_heads_backward",
        "vectors"
    )];
    const BINDINGS: &'static [Binding] = &[
        write("x", Elem::F32),
        read("q_weight", Elem::F32),
        read("k_weight", Elem::F32),
        write("d", Elem::F32),
    ];
    // sums of n values in n / 4 + 8 roundings at most; the difference loses little where a vector has many values
    const AGREE: Agree = Agree::Nmse(1e-12);
    type Params = RmsNormHeadsParams;

    fn shape(&self) -> String {
        self.0.shape()
    }

    fn params(&self) -> RmsNormHeadsParams {
        self.0.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        self.0.team_overrides()
    }

    fn grid(&self) -> Grid {
        self.0.team_grid()
    }

    fn lengths(&self) -> Vec<usize> {
        let [q_width, k_width] = self.0.widths;
        vec![self.0.words(), q_width, k_width, self.0.words()]
    }

    fn cost(&self) -> Cost {
        let n = self.0.values() as f64;
        Cost {
            bytes: 16.0 * n,
            ops: 12.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let weights: [&[f32]; 2] = [b.read(1), b.read(2)];
        let (x, d): (&mut [f32], &mut [f32]) = (b.write(0), b.write(3));
        let norm = &self.0;
        let rows = x
            .chunks_exact_mut(norm.row)
            .zip(d.chunks_exact_mut(norm.row));
        for (x, d) in rows.skip(norm.offset).take(norm.tokens) {
            for ((kind, x), (_, d)) in norm.vectors(x).zip(norm.vectors(d)) {
                let count = norm.rms.count(x.len()) as f64;
                let value = |i: usize| f64::from(x[i]);
                let pull = |i: usize| f64::from(weights[kind][i]) * f64::from(d[i]);
                let squares: f64 = (0..x.len()).map(|i| value(i) * value(i)).sum();
                let products: f64 = (0..x.len()).map(|i| pull(i) * value(i)).sum();
                let s = 1.0 / (squares / count + f64::from(norm.rms.eps)).sqrt();
                for i in 0..x.len() {
                    let (value, before) = (f64::from(x[i]), f64::from(d[i]));
                    let pull = f64::from(weights[kind][i]) * before;
                    d[i] = (s * (pull - value * s * s * products / count)) as f32;
                    x[i] = (before * value * s) as f32;
                }
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }
}
