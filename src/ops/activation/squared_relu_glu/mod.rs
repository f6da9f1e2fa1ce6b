//! Gated activation of a complex feed-forward layer.

use crate::ops::*;

mod cases;

/// The gated activation of iFairy's MLP (arXiv 2508.05571), on complex values: `y = conj(a) * up` with
/// `a = (re(gate)^2, im(gate)^2)`, or 0 where both parts of the gate are negative.
///
/// Bindings: `x` [tokens, 2 n] f32, a row being `[gate | up]`; `y` [tokens, n] f32. Gate, up and result are halves: n / 2 real
/// parts, then n / 2 imaginary parts.
#[derive(Debug, Clone)]
pub struct SquaredReluGlu {
    /// Tokens.
    pub tokens: usize,
    /// Real values of the gate, even.
    pub n: usize,
}

params! {
    /// Uniform block of [`SquaredReluGlu`].
    pub struct SquaredReluGluParams {
        tokens: u32,
        n: u32,
    }
}

/// The activation in f64, for rows `[gate | up]` of `n` reals each.
pub(in crate::ops) fn squared_gated_rows(x: &[f32], y: &mut [f32], n: usize) {
    let half = n / 2;
    for (x, y) in x.chunks_exact(2 * n).zip(y.chunks_exact_mut(n)) {
        let at = |i: usize| f64::from(x[i]);
        for j in 0..half {
            let (gate_re, gate_im) = (at(j), at(half + j));
            let (up_re, up_im) = (at(n + j), at(n + half + j));
            let (a_re, a_im) = match gate_re >= 0.0 || gate_im >= 0.0 {
                true => (gate_re * gate_re, gate_im * gate_im),
                false => (0.0, 0.0),
            };
            y[j] = (a_re * up_re + a_im * up_im) as f32;
            y[half + j] = (a_re * up_im - a_im * up_re) as f32;
        }
    }
}

impl Op for SquaredReluGlu {
    const NAME: &'static str = "squared_relu_glu";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, activation / "squared_relu_glu")];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::F32), write("y", Elem::F32)];
    // With e = 2^-24, a part of y is off by 2 e (|a_re u_re| + |a_im u_im|), or with the parts of u swapped, which is at most
    // 2 e |a| |u|, and by e of itself: together at most (2 + 1/sqrt(2))^2 * 2 * e^2 = 15 e^2 of |a|^2 |u|^2 = |y|^2.
    const AGREE: Agree = Agree::Nmse(1e-13);
    type Params = SquaredReluGluParams;

    fn shape(&self) -> String {
        format!("tokens={},n={}", self.tokens, self.n)
    }

    fn params(&self) -> SquaredReluGluParams {
        debug_assert!(self.n.is_multiple_of(2), "{}", self.shape());
        SquaredReluGluParams {
            tokens: self.tokens as u32,
            n: self.n as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.tokens * self.n / 2)
    }

    fn lengths(&self) -> Vec<usize> {
        vec![2 * self.tokens * self.n, self.tokens * self.n]
    }

    fn cost(&self) -> Cost {
        let n = (self.tokens * self.n) as f64;
        Cost {
            bytes: 12.0 * n,
            ops: 4.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let y: &mut [f32] = b.write(1);
        squared_gated_rows(b.read(0), &mut y[..self.tokens * self.n], self.n);
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let x: &[f32] = b.read(0);
        let y: &mut [f32] = b.write(1);
        let rows = x.chunks_exact(2 * self.n).zip(y.chunks_exact_mut(self.n));
        // a value takes half a nanosecond
        cpu::each_worth(rows.take(self.tokens).collect(), self.n / 2, |(x, y)| {
            let (gate, up) = x.split_at(self.n);
            cpu::squared_gated(gate, up, y);
        });
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
