//! Gradient of the gated activation.

use crate::ops::activation::{GELU, GELU_CUBE, gelu_constant};
use crate::ops::*;

mod cases;

/// Gradient of [`SwiGlu`](crate::ops::activation::SwiGlu): `d_gate = d_y * up * s * (1 + gate * (1 - s))` and
/// `d_up = d_y * gate * s` with `s = 1 / (1 + exp(-gate))`; with GELU `s = 1 / (1 + exp(-t))` and `d_gate = d_y * up * s * (1 + gate *
/// t' * (1 - s))`. They overwrite gate and up.
///
/// Bindings: `d_y` [tokens, n] f32; `x` [tokens, 2 n] f32, a row being `[gate | up]`, becomes their gradient.
#[derive(Debug, Clone)]
pub struct SwigluBackward {
    /// Tokens.
    pub tokens: usize,
    /// Values of the gate.
    pub n: usize,
    /// Whether the gate goes through GELU instead of SiLU.
    pub gelu: bool,
}

params! {
    /// Uniform block of [`SwigluBackward`].
    pub struct SwigluBackwardParams {
        tokens: u32,
        n: u32,
    }
}

impl Op for SwigluBackward {
    const NAME: &'static str = "swiglu_backward";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        train / "swiglu_backward",
        "sigmoid",
        "gelu"
    )];
    const BINDINGS: &'static [Binding] = &[read("d_y", Elem::F32), write("x", Elem::F32)];
    // exp may be off by 3 + 2 * |g| ULP, but where that is much, exp(-|g|) is too small to matter
    const AGREE: Agree = Agree::Nmse(1e-12);
    type Params = SwigluBackwardParams;

    fn shape(&self) -> String {
        let gelu = if self.gelu { ",gelu=1" } else { "" };
        format!("tokens={},n={}{gelu}", self.tokens, self.n)
    }

    fn params(&self) -> SwigluBackwardParams {
        SwigluBackwardParams {
            tokens: self.tokens as u32,
            n: self.n as u32,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        gelu_constant(self.gelu)
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.tokens * self.n)
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.tokens * self.n, 2 * self.tokens * self.n]
    }

    fn cost(&self) -> Cost {
        let n = (self.tokens * self.n) as f64;
        Cost {
            bytes: 20.0 * n,
            ops: 12.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (d_y, x): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let rows = x.chunks_exact_mut(2 * self.n).zip(d_y.chunks_exact(self.n));
        for (x, d_y) in rows.take(self.tokens) {
            let (gate, up) = x.split_at_mut(self.n);
            for ((gate, up), &d) in gate.iter_mut().zip(up).zip(d_y) {
                let (g, u, d) = (f64::from(*gate), f64::from(*up), f64::from(d));
                let (t, slope) = match self.gelu {
                    true => (
                        GELU * (g + GELU_CUBE * g * g * g),
                        GELU * (1.0 + 3.0 * GELU_CUBE * g * g),
                    ),
                    false => (g, 1.0),
                };
                let s = 1.0 / (1.0 + (-t).exp());
                // 1 - s without losing its digits
                let rest = 1.0 / (1.0 + t.exp());
                *gate = (d * u * s * (1.0 + g * slope * rest)) as f32;
                *up = (d * g * s) as f32;
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (d_y, x): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let rows = x.chunks_exact_mut(2 * self.n).zip(d_y.chunks_exact(self.n));
        let rows: Vec<_> = rows.take(self.tokens).collect();
        cpu::each_worth(rows, 2 * self.n, |(x, d_y)| {
            let (gate, up) = x.split_at_mut(self.n);
            cpu::gated_backward(d_y, gate, up, self.gelu);
        });
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }
}
