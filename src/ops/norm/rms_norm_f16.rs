//! Rows of activations in half precision, normalized on the way: what cooperative matrices multiply.

use crate::ops::*;
use bytemuck::Zeroable;
use half::f16;

/// Rounds rows to f16, normalized if asked for: `y = x / sqrt(mean(x^2) + eps) * weight`, clamped to the range of f16.
///
/// Bindings: `x` [rows, n] f32; `weight` `[n]` f32 (any buffer of that length without a norm); `y` [rows, n] f16.
#[derive(Debug, Clone)]
pub struct RmsNormF16 {
    /// Tokens.
    pub rows: usize,
    /// Values per token, even.
    pub n: usize,
    /// Normalize first, with this eps.
    pub norm: Option<f32>,
}

/// Uniform block of [`RmsNormF16`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct RmsNormF16Params {
    rows: u32,
    n: u32,
    eps: f32,
    normed: u32,
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

    fn params(&self) -> RmsNormF16Params {
        RmsNormF16Params {
            rows: self.rows as u32,
            n: self.n as u32,
            eps: self.norm.unwrap_or(0.0),
            normed: self.norm.is_some().into(),
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.rows as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.rows * self.n, self.n, self.rows * self.n / 2]
    }

    fn cost(&self) -> Cost {
        let n = (self.rows * self.n) as f64;
        Cost {
            bytes: 6.0 * n,
            ops: 4.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, weight): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let y: &mut [u16] = b.write(2);
        let rows = x.chunks_exact(self.n).zip(y.chunks_exact_mut(self.n));
        for (x, y) in rows.take(self.rows) {
            let mean = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / self.n as f64;
            let scale = self.norm.map(|eps| 1.0 / (mean + f64::from(eps)).sqrt());
            for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
                let value = match scale {
                    Some(scale) => f64::from(*x) * scale * f64::from(*w),
                    None => f64::from(*x),
                };
                *y = f16::from_f64(value.clamp(-65504.0, 65504.0)).to_bits();
            }
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::rms_norm_f16()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, rows, n, norm, amplitude| {
            let weight: Vec<f32> = noise(15, n, 0.5).iter().map(|w| w + 1.0).collect();
            let data = vec![
                Data::f32(&noise(14, rows * n, amplitude)),
                Data::f32(&weight),
                Data::Out(rows * n / 2),
            ];
            Case::new(name, Self { rows, n, norm }, data)
        };
        vec![
            case("normed", 3, 384, Some(1e-5), 2.0),
            case("plain", 2, 1024, None, 30.0),
            case("wide", 1, 11008, Some(1e-6), 0.01),
            case("two values", 4, 2, Some(1e-5), 1.0),
            case("beyond the range", 2, 64, None, 1e6),
        ]
    }
}
