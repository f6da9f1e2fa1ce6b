//! Gradients of the RMS norm.

use super::*;
use bytemuck::Zeroable;

/// Gradient of [`crate::ops::norm::RmsNorm`] in its input; keeps each row's `1 / sqrt(mean(x^2) + eps)` for
/// [`RmsNormWeightBackward`].
///
/// Bindings: `x` [rows, n], `weight` `[n]`, `d_y` [rows, n], `d_x` [rows, n], `scale` `[rows]`, all f32.
#[derive(Debug, Clone)]
pub struct RmsNormBackward {
    /// Tokens.
    pub rows: usize,
    /// Values per token.
    pub n: usize,
    /// Added to the mean square.
    pub eps: f32,
    /// Add to `d_x` (the gradient of the residual stream) instead of overwriting it.
    pub accumulate: bool,
}

/// Uniform block of [`RmsNormBackward`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct RmsNormBackwardParams {
    rows: u32,
    n: u32,
    eps: f32,
}

impl Op for RmsNormBackward {
    const NAME: &'static str = "rms_norm_backward";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        train / "rms_norm_backward",
        "reduce"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("x", Elem::F32),
        read("weight", Elem::F32),
        read("d_y", Elem::F32),
        write("d_x", Elem::F32),
        write("scale", Elem::F32),
    ];
    // sums of n values in n / 256 + 8 roundings; the difference loses little where a row has many values
    const AGREE: Agree = Agree::Nmse(1e-12);
    type Params = RmsNormBackwardParams;

    fn params(&self) -> RmsNormBackwardParams {
        RmsNormBackwardParams {
            rows: self.rows as u32,
            n: self.n as u32,
            eps: self.eps,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("ACCUMULATE", f64::from(u8::from(self.accumulate)))]
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.rows as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let all = self.rows * self.n;
        vec![all, self.n, all, all, self.rows]
    }

    fn cost(&self) -> Cost {
        let n = (self.rows * self.n) as f64;
        Cost {
            bytes: 4.0 * if self.accumulate { 4.0 } else { 3.0 } * n,
            ops: 10.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, weight, d_y): (&[f32], &[f32], &[f32]) = (b.read(0), b.read(1), b.read(2));
        let (d_x, scale): (&mut [f32], &mut [f32]) = (b.write(3), b.write(4));
        let n = self.n;
        for (row, scale) in scale.iter_mut().enumerate().take(self.rows) {
            let at = row * n;
            let value = |i: usize| f64::from(x[at + i]);
            let pull = |i: usize| f64::from(weight[i]) * f64::from(d_y[at + i]);
            let squares: f64 = (0..n).map(|i| value(i) * value(i)).sum();
            let products: f64 = (0..n).map(|i| pull(i) * value(i)).sum();
            let s = 1.0 / (squares / n as f64 + f64::from(self.eps)).sqrt();
            for i in 0..n {
                let gradient = s * (pull(i) - value(i) * s * s * products / n as f64);
                let d = &mut d_x[at + i];
                let before = if self.accumulate { f64::from(*d) } else { 0.0 };
                *d = (before + gradient) as f32;
            }
            *scale = s as f32;
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (x, weight, d_y): (&[f32], &[f32], &[f32]) = (b.read(0), b.read(1), b.read(2));
        let (d_x, scale): (&mut [f32], &mut [f32]) = (b.write(3), b.write(4));
        let n = self.n;
        let inputs = x.chunks_exact(n).zip(d_y.chunks_exact(n));
        let rows = inputs.zip(d_x.chunks_exact_mut(n).zip(scale));
        let rows: Vec<_> = rows.take(self.rows).collect();
        cpu::each_worth(rows, 2 * n, |((x, d_y), (d_x, scale))| {
            let (mut squares, mut products) = (0.0, 0.0);
            for ((&x, &d), &w) in x.iter().zip(d_y).zip(weight) {
                squares += f64::from(x) * f64::from(x);
                products += f64::from(w * d) * f64::from(x);
            }
            let s = 1.0 / (squares / n as f64 + f64::from(self.eps)).sqrt();
            let (pull, s) = ((products / n as f64 * s * s) as f32, s as f32);
            for (((to, &x), &d), &w) in d_x.iter_mut().zip(x).zip(d_y).zip(weight) {
                *to = if self.accumulate { *to } else { 0.0 } + s * (w * d - x * pull);
            }
            *scale = s;
        });
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, rows, n, accumulate| {
            let op = Self {
                rows,
                n,
                eps: 1e-5,
                accumulate,
            };
            let data = vec![
                Data::f32(&noise(91, rows * n, 2.0)),
                Data::f32(&noise(92, n, 2.0)),
                Data::f32(&noise(93, rows * n, 1.0)),
                Data::f32(&noise(94, rows * n, 1.0)),
                Data::Out(rows),
            ];
            Case::new(name, op, data)
        };
        vec![
            case("several rows, adding", 5, 288, true),
            case("odd width, writing", 3, 75, false),
            case("wide, adding", 2, 5003, true),
            case("two values", 4, 2, false),
        ]
    }
}

/// Gradient of [`crate::ops::norm::RmsNorm`] in its weight, added up over the rows.
///
/// Bindings: `x` [rows, n], `d_y` [rows, n], `scale` `[rows]` as [`RmsNormBackward`] left it, `d_weight` `[n]`, all
/// f32; `d_weight` is added to.
#[derive(Debug, Clone)]
pub struct RmsNormWeightBackward {
    /// Tokens.
    pub rows: usize,
    /// Values per token.
    pub n: usize,
}

/// Uniform block of [`RmsNormWeightBackward`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct RmsNormWeightBackwardParams {
    rows: u32,
    n: u32,
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
    // chains of rows / 64 roundings
    const AGREE: Agree = Agree::Nmse(1e-12);
    type Params = RmsNormWeightBackwardParams;

    fn params(&self) -> RmsNormWeightBackwardParams {
        RmsNormWeightBackwardParams {
            rows: self.rows as u32,
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
        let all = self.rows * self.n;
        vec![all, all, self.rows, self.n]
    }

    fn cost(&self) -> Cost {
        let n = (self.rows * self.n) as f64;
        Cost {
            bytes: 8.0 * n,
            ops: 3.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, d_y, scale): (&[f32], &[f32], &[f32]) = (b.read(0), b.read(1), b.read(2));
        let d_weight: &mut [f32] = b.write(3);
        for (j, d) in d_weight.iter_mut().enumerate().take(self.n) {
            let term = |row: usize| {
                let at = row * self.n + j;
                f64::from(x[at]) * f64::from(d_y[at]) * f64::from(scale[row])
            };
            *d = (f64::from(*d) + (0..self.rows).map(term).sum::<f64>()) as f32;
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, rows, n| {
            let data = vec![
                Data::f32(&noise(95, rows * n, 2.0)),
                Data::f32(&noise(96, rows * n, 1.0)),
                Data::f32(&noise(97, rows, 1.0)),
                Data::f32(&noise(98, n, 3.0)),
            ];
            Case::new(name, Self { rows, n }, data)
        };
        vec![
            case("several rows", 37, 288),
            case("one row, odd width", 1, 75),
            case("many rows", 500, 20),
        ]
    }
}
