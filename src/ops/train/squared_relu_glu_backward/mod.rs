//! Gradient of the complex gated activation.

use crate::ops::*;

mod cases;

/// Gradient of [`SquaredReluGlu`](crate::ops::activation::SquaredReluGlu) on complex values: with `a = (re(gate)^2, im(gate)^2)`
/// and `c = conj(up) * d_y`, `d_up = a * d_y` and `d_gate = 2 (re(gate) re(c), -im(gate) im(c))`; both are 0 where both parts of
/// the gate are negative. They overwrite gate and up.
///
/// A gradient holds the derivatives in the real parts, then those in the imaginary parts.
///
/// Bindings: `d_y` [tokens, n] f32; `x` [tokens, 2 n] f32, a row being `[gate | up]`, becomes their gradient. All are halves: real
/// parts, then imaginary parts.
#[derive(Debug, Clone)]
pub struct SquaredReluGluBackward {
    /// Tokens.
    pub tokens: usize,
    /// Real values of the gate, even.
    pub n: usize,
}

params! {
    /// Uniform block of [`SquaredReluGluBackward`].
    pub struct SquaredReluGluBackwardParams {
        tokens: u32,
        n: u32,
    }
}

impl Op for SquaredReluGluBackward {
    const NAME: &'static str = "squared_relu_glu_backward";
    const SHADERS: &'static [Shader] =
        &[shader!(Features::NONE, train / "squared_relu_glu_backward")];
    const BINDINGS: &'static [Binding] = &[read("d_y", Elem::F32), write("x", Elem::F32)];
    // With e = 2^-24, the gradient of up is off by 15 e^2 of its square, as the activation is. A part of c is off by
    // e |up| |d_y| and by e of itself, and its product with a part of the gate by another e of itself. In the mean over a buffer
    // either part of c has half of |up|^2 |d_y|^2: the gradient of the gate is off by (sqrt(2) + 2)^2 e^2 = 12 e^2 of its square.
    const AGREE: Agree = Agree::Nmse(1e-13);
    type Params = SquaredReluGluBackwardParams;

    fn shape(&self) -> String {
        format!("tokens={},n={}", self.tokens, self.n)
    }

    fn params(&self) -> SquaredReluGluBackwardParams {
        debug_assert!(self.n.is_multiple_of(2), "{}", self.shape());
        SquaredReluGluBackwardParams {
            tokens: self.tokens as u32,
            n: self.n as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.tokens * self.n / 2)
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.tokens * self.n, 2 * self.tokens * self.n]
    }

    fn cost(&self) -> Cost {
        let n = (self.tokens * self.n) as f64;
        Cost {
            bytes: 20.0 * n,
            ops: 9.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (d_y, x): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let (n, half) = (self.n, self.n / 2);
        for token in 0..self.tokens {
            for j in 0..half {
                let d = |i: usize| f64::from(d_y[token * n + i]);
                let (d_re, d_im) = (d(j), d(half + j));
                let row = &mut x[token * 2 * n..][..2 * n];
                let (gate_re, gate_im) = (f64::from(row[j]), f64::from(row[half + j]));
                let (up_re, up_im) = (f64::from(row[n + j]), f64::from(row[n + half + j]));
                let passes = gate_re >= 0.0 || gate_im >= 0.0;
                let (gate_re, gate_im) = if passes {
                    (gate_re, gate_im)
                } else {
                    (0.0, 0.0)
                };
                let (a_re, a_im) = (gate_re * gate_re, gate_im * gate_im);
                // y = (a_re up_re + a_im up_im, a_re up_im - a_im up_re)
                row[j] = (2.0 * gate_re * (up_re * d_re + up_im * d_im)) as f32;
                row[half + j] = (2.0 * gate_im * (up_im * d_re - up_re * d_im)) as f32;
                row[n + j] = (a_re * d_re - a_im * d_im) as f32;
                row[n + half + j] = (a_im * d_re + a_re * d_im) as f32;
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (d_y, x): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let rows = x.chunks_exact_mut(2 * self.n).zip(d_y.chunks_exact(self.n));
        let rows: Vec<_> = rows.take(self.tokens).collect();
        cpu::each_worth(rows, self.n, |(x, d_y)| {
            let (gate, up) = x.split_at_mut(self.n);
            cpu::squared_gated_backward(d_y, gate, up);
        });
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
