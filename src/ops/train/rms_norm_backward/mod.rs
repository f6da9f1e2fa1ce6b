//! Gradient of the RMS norm in its input.

use crate::ops::norm::Rms;
use crate::ops::*;

mod cases;

/// Gradient of [`RmsNorm`](crate::ops::norm::RmsNorm) in its input; leaves each token's `1 / sqrt(mean(x^2) + eps)` for
/// [`RmsNormWeightBackward`](super::RmsNormWeightBackward).
///
/// Bindings: `x` [tokens, n], `weight` `[n]`, `d_y` [tokens, n], `d_x` [tokens, n], `scale` `[tokens]`, all f32.
#[derive(Debug, Clone)]
pub struct RmsNormBackward {
    /// Tokens.
    pub tokens: usize,
    /// Values per token.
    pub n: usize,
    /// What the norm divides by.
    pub rms: Rms,
    /// Add to `d_x` (the gradient of the residual stream) instead of overwriting it.
    pub accumulate: bool,
}

params! {
    /// Uniform block of [`RmsNormBackward`].
    pub struct RmsNormBackwardParams {
        tokens: u32,
        n: u32,
        count: u32,
        eps: f32,
    }
}

impl Op for RmsNormBackward {
    const NAME: &'static str = "rms_norm_backward";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        train / "rms_norm_backward",
        "reduce"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("x", Elem::F32),
        read("weight", Elem::F32),
        read("d_y", Elem::F32),
        write("d_x", Elem::F32),
        write("scale", Elem::F32),
    ];
    // sums of n values in n / 256 + 8 roundings; the difference loses little where a token has many values
    const AGREE: Agree = Agree::Nmse(1e-12);
    type Params = RmsNormBackwardParams;

    fn shape(&self) -> String {
        format!(
            "tokens={},n={},{},accumulate={}",
            self.tokens, self.n, self.rms, self.accumulate
        )
    }

    fn params(&self) -> RmsNormBackwardParams {
        RmsNormBackwardParams {
            tokens: self.tokens as u32,
            n: self.n as u32,
            count: self.rms.count(self.n) as u32,
            eps: self.rms.eps,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("ACCUMULATE", f64::from(u8::from(self.accumulate)))]
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.tokens as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let all = self.tokens * self.n;
        vec![all, self.n, all, all, self.tokens]
    }

    fn cost(&self) -> Cost {
        let n = (self.tokens * self.n) as f64;
        Cost {
            bytes: 4.0 * if self.accumulate { 4.0 } else { 3.0 } * n,
            ops: 10.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, weight, d_y): (&[f32], &[f32], &[f32]) = (b.read(0), b.read(1), b.read(2));
        let (d_x, scale): (&mut [f32], &mut [f32]) = (b.write(3), b.write(4));
        let (n, count) = (self.n, self.rms.count(self.n) as f64);
        for (token, scale) in scale.iter_mut().enumerate().take(self.tokens) {
            let base = token * n;
            let value = |i: usize| f64::from(x[base + i]);
            let pull = |i: usize| f64::from(weight[i]) * f64::from(d_y[base + i]);
            let squares: f64 = (0..n).map(|i| value(i) * value(i)).sum();
            let products: f64 = (0..n).map(|i| pull(i) * value(i)).sum();
            let s = 1.0 / (squares / count + f64::from(self.rms.eps)).sqrt();
            for i in 0..n {
                let gradient = s * (pull(i) - value(i) * s * s * products / count);
                let d = &mut d_x[base + i];
                let before = if self.accumulate { f64::from(*d) } else { 0.0 };
                *d = (before + gradient) as f32;
            }
            *scale = s as f32;
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (x, weight, d_y): (&[f32], &[f32], &[f32]) = (b.read(0), b.read(1), b.read(2));
        let (d_x, scale): (&mut [f32], &mut [f32]) = (b.write(3), b.write(4));
        let (n, count) = (self.n, self.rms.count(self.n) as f64);
        let inputs = x.chunks_exact(n).zip(d_y.chunks_exact(n));
        let rows = inputs.zip(d_x.chunks_exact_mut(n).zip(scale));
        let rows: Vec<_> = rows.take(self.tokens).collect();
        cpu::each_worth(rows, 2 * n, |((x, d_y), (d_x, scale))| {
            let (mut squares, mut products) = (0.0, 0.0);
            for ((&x, &d), &w) in x.iter().zip(d_y).zip(weight) {
                squares += f64::from(x) * f64::from(x);
                products += f64::from(w * d) * f64::from(x);
            }
            let s = 1.0 / (squares / count + f64::from(self.rms.eps)).sqrt();
            let (pull, s) = ((products / count * s * s) as f32, s as f32);
            for (((d_x, &x), &d), &w) in d_x.iter_mut().zip(x).zip(d_y).zip(weight) {
                *d_x = if self.accumulate { *d_x } else { 0.0 } + s * (w * d - x * pull);
            }
            *scale = s;
        });
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }
}
