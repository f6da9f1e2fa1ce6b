//! Gated activation of a feed-forward layer.

use crate::ops::*;
use bytemuck::Zeroable;

/// The gated activation of LLaMA's MLP: `y = silu(gate) * up`, `silu(g) = g / (1 + exp(-g))`.
///
/// Bindings: `x` [rows, 2 n] f32, a row being `[gate | up]`; `y` [rows, n] f32.
#[derive(Debug, Clone)]
pub struct SwiGlu {
    /// Tokens.
    pub rows: usize,
    /// Values of the gate.
    pub n: usize,
}

/// Uniform block of [`SwiGlu`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct SwiGluParams {
    rows: u32,
    n: u32,
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
    // exp may be off by 3 + 2 |g| ULP, but where that is much, exp(-|g|) is too small to count
    const AGREE: Agree = Agree::Nmse(1e-13);
    type Params = SwiGluParams;

    fn params(&self) -> SwiGluParams {
        SwiGluParams {
            rows: self.rows as u32,
            n: self.n as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.rows * self.n)
    }

    fn lengths(&self) -> Vec<usize> {
        vec![2 * self.rows * self.n, self.rows * self.n]
    }

    fn cost(&self) -> Cost {
        let n = (self.rows * self.n) as f64;
        Cost {
            bytes: 12.0 * n,
            ops: 5.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let y: &mut [f32] = b.write(1);
        gated_rows(b.read(0), &mut y[..self.rows * self.n], self.n);
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let x: &[f32] = b.read(0);
        let y: &mut [f32] = b.write(1);
        let rows = x.chunks_exact(2 * self.n).zip(y.chunks_exact_mut(self.n));
        // a nanosecond per value
        crate::ops::cpu::each_worth(rows.take(self.rows).collect(), self.n, |(x, y)| {
            let (gate, up) = x.split_at(self.n);
            crate::ops::cpu::gated(gate, up, y);
        });
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::swi_glu()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, rows, n, x: Vec<f32>| {
            let data = vec![Data::f32(&x), Data::Out(rows * n)];
            Case::new(name, SwiGlu { rows, n }, data)
        };
        let extremes = [
            1e4f32,
            -1e4,
            104.0,
            -104.0,
            88.8,
            -88.8,
            -87.3,
            17.0,
            -17.0,
            0.0,
            -0.0,
            1e-30,
            -1e-30,
            3e38,
            -3e38,
            f32::MIN_POSITIVE,
        ];
        let mut x = extremes.to_vec();
        x.extend([0.5; 16]);
        vec![
            case("several rows", 3, 172, noise(31, 3 * 344, 6.0)),
            case("odd width", 2, 301, noise(32, 2 * 602, 1.0)),
            case("large gates", 1, 1000, noise(33, 2000, 40.0)),
            case("one value", 5, 1, noise(34, 10, 3.0)),
            case("extreme gates", 1, 16, x),
        ]
    }
}
