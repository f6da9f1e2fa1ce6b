//! Ops whose elements, or rows, know nothing of each other: embedding, norm, gated activation.

use super::*;
use bytemuck::Zeroable;

mod embed;

pub use embed::{TokenEmbed, TokenEmbedParams};

/// Elements that one workgroup of an element-wise kernel covers.
const WIDTH: usize = 256;

/// Root-mean-square norm of rows: `y = x / sqrt(mean(x^2) + eps) * weight`.
///
/// Bindings: `x` [rows, n] f32; `weight` `[n]` f32; `y` [rows, n] f32.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    /// Tokens.
    pub rows: usize,
    /// Values per token.
    pub n: usize,
    /// Added to the mean square.
    pub eps: f32,
}

/// Uniform block of [`RmsNorm`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct RmsNormParams {
    rows: u32,
    n: u32,
    eps: f32,
}

impl Op for RmsNorm {
    const NAME: &'static str = "rms_norm";
    const SHADERS: &'static [Shader] = &[shader!(Needs::NONE, "rms_norm", "reduce")];
    const BINDINGS: &'static [Binding] = &[
        read("x", Elem::F32),
        read("weight", Elem::F32),
        write("y", Elem::F32),
    ];
    // n = 8192: the square, 2 + 2 sums in a step, 2 steps, 2 + 8 sums over lanes are some 16 roundings of the
    // sum, half of that after the root; division 2.5 / 2, root 2, two products 2: even all one way below 16
    const AGREE: Agree = Agree::Ulp(16);
    type Params = RmsNormParams;

    fn params(&self) -> RmsNormParams {
        RmsNormParams {
            rows: self.rows as u32,
            n: self.n as u32,
            eps: self.eps,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.rows as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.rows * self.n, self.n, self.rows * self.n]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 4.0 * (2 * self.rows * self.n + self.n) as f64,
            ops: 4.0 * (self.rows * self.n) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, weight): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let y: &mut [f32] = b.write(2);
        for (x, y) in x
            .chunks_exact(self.n)
            .zip(y.chunks_exact_mut(self.n))
            .take(self.rows)
        {
            let squares: f64 = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
            let root = (squares / self.n as f64 + f64::from(self.eps)).sqrt();
            for ((y, &x), &w) in y.iter_mut().zip(x).zip(weight) {
                *y = (f64::from(x) / root * f64::from(w)) as f32;
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (x, weight): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let y: &mut [f32] = b.write(2);
        let rows = x.chunks_exact(self.n).zip(y.chunks_exact_mut(self.n));
        // half a nanosecond per value
        super::host::each_worth(rows.take(self.rows).collect(), self.n / 2, |(x, y)| {
            super::vector::normed(x, &weight[..self.n], self.eps, y);
        });
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        large::rms_norm()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, rows, n, amplitude| {
            let op = RmsNorm { rows, n, eps: 1e-5 };
            let x = noise(21, rows * n, amplitude);
            let weight = noise(22, n, 2.0);
            let data = vec![Data::f32(&x), Data::f32(&weight), Data::Out(rows * n)];
            Case::new(name, op, data)
        };
        let mut cases = vec![
            case("several rows", 5, 288, 1.0),
            case("odd width", 3, 75, 4.0),
            case("wide", 2, 5003, 0.5),
            case("widest", 1, 8192, 30.0),
            case("eps decides", 2, 64, 1e-3),
            case("one value", 7, 1, 1.0),
        ];
        let zero = RmsNorm {
            rows: 1,
            n: 40,
            eps: 1e-6,
        };
        let data = vec![Data::f32(&[0.0; 40]), Data::f32(&[1.0; 40]), Data::Out(40)];
        cases.push(Case::new("zero", zero, data));
        cases
    }
}

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
pub(super) fn gated_rows(x: &[f32], y: &mut [f32], n: usize) {
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
    const SHADERS: &'static [Shader] = &[shader!(Needs::NONE, "swiglu", "sigmoid")];
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
        Grid {
            groups: (self.rows * self.n).div_ceil(WIDTH) as u32,
            batch: 1,
        }
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
        super::host::each_worth(rows.take(self.rows).collect(), self.n, |(x, y)| {
            let (gate, up) = x.split_at(self.n);
            super::vector::gated(gate, up, y);
        });
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        large::swi_glu()
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
