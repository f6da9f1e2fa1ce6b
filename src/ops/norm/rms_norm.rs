//! Root-mean-square norm.

use crate::ops::*;
use bytemuck::Zeroable;

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
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, norm / "rms_norm", "reduce")];
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
        crate::ops::cpu::each_worth(rows.take(self.rows).collect(), self.n / 2, |(x, y)| {
            crate::ops::cpu::normed(x, &weight[..self.n], self.eps, y);
        });
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::rms_norm()
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
