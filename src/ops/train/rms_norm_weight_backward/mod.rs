//! Gradient of the RMS norm in its weight.

use crate::ops::*;

mod cases;

/// Gradient of [`RmsNorm`](crate::ops::norm::RmsNorm) in its weight, added up over the tokens.
///
/// Bindings: `x` [tokens, n], `d_y` [tokens, n], `scale` `[tokens]` as [`RmsNormBackward`](super::RmsNormBackward) left it, `d_weight` `[n]`, all
/// f32; `d_weight` is added to.
#[derive(Debug, Clone)]
pub struct RmsNormWeightBackward {
    /// Tokens.
    pub tokens: usize,
    /// Values per token.
    pub n: usize,
}

params! {
    /// Uniform block of [`RmsNormWeightBackward`].
    pub struct RmsNormWeightBackwardParams {
        tokens: u32,
        n: u32,
    }
}

impl Op for RmsNormWeightBackward {
    const NAME: &'static str = "rms_norm_weight_backward";
    const SHADERS: &'static [Shader] =
        &[shader!(Features::NONE, train / "rms_norm_weight_backward")];
    const BINDINGS: &'static [Binding] = &[
        read("x", Elem::F32),
        read("d_y", Elem::F32),
        read("scale", Elem::F32),
        write("d_weight", Elem::F32),
    ];
    // chains of tokens / 64 roundings
    const AGREE: Agree = Agree::Nmse(1e-12);
    type Params = RmsNormWeightBackwardParams;

    fn shape(&self) -> String {
        format!("tokens={},n={}", self.tokens, self.n)
    }

    fn params(&self) -> RmsNormWeightBackwardParams {
        RmsNormWeightBackwardParams {
            tokens: self.tokens as u32,
            n: self.n as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.n.div_ceil(16) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let all = self.tokens * self.n;
        vec![all, all, self.tokens, self.n]
    }

    fn cost(&self) -> Cost {
        let n = (self.tokens * self.n) as f64;
        Cost {
            bytes: 8.0 * n,
            ops: 3.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, d_y, scale): (&[f32], &[f32], &[f32]) = (b.read(0), b.read(1), b.read(2));
        let d_weight: &mut [f32] = b.write(3);
        for (j, d) in d_weight.iter_mut().enumerate().take(self.n) {
            let term = |token: usize| {
                let index = token * self.n + j;
                f64::from(x[index]) * f64::from(d_y[index]) * f64::from(scale[token])
            };
            *d = (f64::from(*d) + (0..self.tokens).map(term).sum::<f64>()) as f32;
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }
}
