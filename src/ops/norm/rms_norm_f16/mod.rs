//! Activations in half precision, normalized on the way: the factors of cooperative matrices.

use super::Rms;
use crate::ops::*;
use half::f16;

mod cases;

/// Rounds tokens to f16, and normalizes them before if asked to: `y = x / sqrt(mean(x^2) + eps) * weight`, clamped to the range of f16.
///
/// Bindings: `x` [tokens, n] f32; `weight` `[n]` f32 (any buffer of that length without a norm); `y` [tokens, n] f16.
#[derive(Debug, Clone)]
pub struct RmsNormF16 {
    /// Tokens.
    pub tokens: usize,
    /// Values per token, even.
    pub n: usize,
    /// Normalize first, dividing by this.
    pub norm: Option<Rms>,
}

params! {
    /// Uniform block of [`RmsNormF16`].
    pub struct RmsNormF16Params {
        tokens: u32,
        n: u32,
        count: u32,
        eps: f32,
        normed: u32,
    }
}

impl Op for RmsNormF16 {
    const NAME: &'static str = "rms_norm_f16";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, norm / "rms_norm_f16", "reduce")];
    const BINDINGS: &'static [Binding] = &[
        read("x", Elem::F32),
        read("weight", Elem::F32),
        write("y", Elem::F16x2),
    ];
    // a value on the edge between two halves may fall on either
    const AGREE: Agree = Agree::Nmse(1e-8);
    type Params = RmsNormF16Params;

    fn shape(&self) -> String {
        let norm = match self.norm {
            Some(rms) => rms.to_string(),
            None => "norm=none".to_owned(),
        };
        format!("tokens={},n={},{norm}", self.tokens, self.n)
    }

    fn params(&self) -> RmsNormF16Params {
        let rms = self.norm.unwrap_or(Rms::real(0.0));
        RmsNormF16Params {
            tokens: self.tokens as u32,
            n: self.n as u32,
            count: rms.count(self.n) as u32,
            eps: rms.eps,
            normed: self.norm.is_some().into(),
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.tokens as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.tokens * self.n, self.n, self.tokens * self.n / 2]
    }

    fn cost(&self) -> Cost {
        let n = (self.tokens * self.n) as f64;
        Cost {
            bytes: 6.0 * n,
            ops: 4.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, weight): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let y: &mut [u16] = b.write(2);
        let rows = x.chunks_exact(self.n).zip(y.chunks_exact_mut(self.n));
        for (x, y) in rows.take(self.tokens) {
            let squares = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
            let scale = self.norm.map(|rms| {
                let mean = squares / rms.count(self.n) as f64;
                1.0 / (mean + f64::from(rms.eps)).sqrt()
            });
            for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
                let value = match scale {
                    Some(scale) => f64::from(*x) * scale * f64::from(*w),
                    None => f64::from(*x),
                };
                *y = f16::from_f64(value.clamp(-65504.0, 65504.0)).to_bits();
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
