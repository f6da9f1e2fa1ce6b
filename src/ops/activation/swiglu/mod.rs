//! Gated activation of a feed-forward layer.

use crate::ops::*;

mod cases;

/// The gated activation of LLaMA's MLP: `y = silu(gate) * up`, `silu(g) = g / (1 + exp(-g))`.
///
/// Bindings: `x` [tokens, 2 n] f32, a row being `[gate | up]`; `y` [tokens, n] f32.
#[derive(Debug, Clone)]
pub struct SwiGlu {
    /// Tokens.
    pub tokens: usize,
    /// Values of the gate.
    pub n: usize,
}

params! {
    /// Uniform block of [`SwiGlu`].
    pub struct SwiGluParams {
        tokens: u32,
        n: u32,
    }
}

/// `y = silu(gate) * up` in f64, for rows `[gate | up]` of `n` values each.
pub(in crate::ops) fn gated_rows(x: &[f32], y: &mut [f32], n: usize) {
    for (x, y) in x.chunks_exact(2 * n).zip(y.chunks_exact_mut(n)) {
        let (gate, up) = x.split_at(n);
        for ((y, &g), &u) in y.iter_mut().zip(gate).zip(up) {
            let (g, u) = (f64::from(g), f64::from(u));
            *y = (g / (1.0 + (-g).exp()) * u) as f32;
        }
    }
}

impl Op for SwiGlu {
    const NAME: &'static str = "swiglu";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, activation / "swiglu", "sigmoid")];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::F32), write("y", Elem::F32)];
    // exp may be off by 3 + 2 * |g| ULP, but where that is much, exp(-|g|) is too small to matter
    const AGREE: Agree = Agree::Nmse(1e-13);
    type Params = SwiGluParams;

    fn shape(&self) -> String {
        format!("tokens={},n={}", self.tokens, self.n)
    }

    fn params(&self) -> SwiGluParams {
        SwiGluParams {
            tokens: self.tokens as u32,
            n: self.n as u32,
        }
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
        gated_rows(b.read(0), &mut y[..self.tokens * self.n], self.n);
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let x: &[f32] = b.read(0);
        let y: &mut [f32] = b.write(1);
        let rows = x.chunks_exact(2 * self.n).zip(y.chunks_exact_mut(self.n));
        // a value takes a nanosecond
        cpu::each_worth(rows.take(self.tokens).collect(), self.n, |(x, y)| {
            let (gate, up) = x.split_at(self.n);
            cpu::gated(gate, up, y);
        });
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
