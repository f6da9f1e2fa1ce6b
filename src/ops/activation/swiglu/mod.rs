//! Gated activation of a feed-forward layer.

use crate::ops::*;

mod cases;

/// The gated activation of LLaMA's MLP: `y = silu(gate) * up`, `silu(g) = g / (1 + exp(-g))`. Gemma's has the approximation of GELU
/// by tanh instead, which is `g / (1 + exp(-t))` with `t = 2 sqrt(2 / pi) (g + 0.044715 g^3)`.
///
/// Bindings: `x` [tokens, 2 n] f32, a row being `[gate | up]`; `y` [tokens, n] f32.
#[derive(Debug, Clone)]
pub struct SwiGlu {
    /// Tokens.
    pub tokens: usize,
    /// Values of the gate.
    pub n: usize,
    /// Whether the gate goes through GELU instead of SiLU.
    pub gelu: bool,
}

params! {
    /// Uniform block of [`SwiGlu`].
    pub struct SwiGluParams {
        tokens: u32,
        n: u32,
    }
}

/// `2 sqrt(2 / pi)`.
pub(in crate::ops) const GELU: f64 = 1.595_769_121_605_730_9;
/// What the cube of a value is multiplied by in GELU.
pub(in crate::ops) const GELU_CUBE: f64 = 0.044_715;

/// The constant of kernels whose gate is GELU, which others do not have.
pub(in crate::ops) fn gelu_constant(gelu: bool) -> Vec<(&'static str, f64)> {
    gelu.then_some(("GELU", 1.0)).into_iter().collect()
}

/// `y = silu(gate) * up`, or with GELU, in f64, for rows `[gate | up]` of `n` values each.
pub(in crate::ops) fn gated_rows(x: &[f32], y: &mut [f32], n: usize, gelu: bool) {
    for (x, y) in x.chunks_exact(2 * n).zip(y.chunks_exact_mut(n)) {
        let (gate, up) = x.split_at(n);
        for ((y, &g), &u) in y.iter_mut().zip(gate).zip(up) {
            let (g, u) = (f64::from(g), f64::from(u));
            let t = if gelu {
                GELU * (g + GELU_CUBE * g * g * g)
            } else {
                g
            };
            *y = (g / (1.0 + (-t).exp()) * u) as f32;
        }
    }
}

impl Op for SwiGlu {
    const NAME: &'static str = "swiglu";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        activation / "swiglu",
        "sigmoid",
        "gelu"
    )];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::F32), write("y", Elem::F32)];
    // exp may be off by 3 + 2 * |g| ULP, but where that is much, exp(-|g|) is too small to matter
    const AGREE: Agree = Agree::Nmse(1e-13);
    type Params = SwiGluParams;

    fn shape(&self) -> String {
        let gelu = if self.gelu { ",gelu=1" } else { "" };
        format!("tokens={},n={}{gelu}", self.tokens, self.n)
    }

    fn params(&self) -> SwiGluParams {
        SwiGluParams {
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
        vec![2 * self.tokens * self.n, self.tokens * self.n]
    }

    fn cost(&self) -> Cost {
        let n = (self.tokens * self.n) as f64;
        Cost {
            bytes: 12.0 * n,
            ops: 5.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let y: &mut [f32] = b.write(1);
        gated_rows(b.read(0), &mut y[..self.tokens * self.n], self.n, self.gelu);
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let x: &[f32] = b.read(0);
        let y: &mut [f32] = b.write(1);
        let rows = x.chunks_exact(2 * self.n).zip(y.chunks_exact_mut(self.n));
        // a value takes a nanosecond
        cpu::each_worth(rows.take(self.tokens).collect(), self.n, |(x, y)| {
            let (gate, up) = x.split_at(self.n);
            cpu::gated(gate, up, y, self.gelu);
        });
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
