//! Norms and the AdamW update.

use super::*;
use bytemuck::Zeroable;

/// Most shares that [`GradNorm`] cuts a tensor into.
const MOST_SHARES: usize = 528;
/// Least values of a share.
const LEAST_SHARE: usize = 4096;
/// A share is a multiple of so many values, whatever is left in the last one.
const SHARE_STEP: usize = 1024;

/// Sum of squares and largest magnitude of every share of a tensor; the host adds the shares up, in their order and
/// in f64. A magnitude of infinity or NaN (bits beyond `0x7f7f_ffff`) tells that there is one.
///
/// Bindings: `x` `[n]` f32; `squares` f32 and `largest` u32 (bits of a magnitude), [first + shares] each.
#[derive(Debug, Clone)]
pub struct GradNorm {
    /// Values.
    pub n: usize,
    /// Place of the first share's results.
    pub first: usize,
}

/// Uniform block of [`GradNorm`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct GradNormParams {
    n: u32,
    share: u32,
    shares: u32,
    first: u32,
}

impl GradNorm {
    fn share(&self) -> usize {
        let even = self.n.div_ceil(MOST_SHARES).max(LEAST_SHARE);
        even.next_multiple_of(SHARE_STEP)
    }

    /// Results: shares of the tensor.
    pub fn shares(&self) -> usize {
        self.n.div_ceil(self.share())
    }
}

impl Op for GradNorm {
    const NAME: &'static str = "grad_norm";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, train / "grad_norm", "reduce")];
    const BINDINGS: &'static [Binding] = &[
        read("x", Elem::F32),
        write("squares", Elem::F32),
        write("largest", Elem::U32),
    ];
    // positive terms: chains of share / 1024 roundings, then 10
    const AGREE: Agree = Agree::Nmse(1e-11);
    type Params = GradNormParams;

    fn params(&self) -> GradNormParams {
        GradNormParams {
            n: self.n as u32,
            share: self.share() as u32,
            shares: self.shares() as u32,
            first: self.first as u32,
        }
    }

    fn prelude(&self) -> &'static str {
        if self.n.is_multiple_of(4) {
            include_str!("../../../shaders/lib/words_four.wgsl")
        } else {
            include_str!("../../../shaders/lib/words_any.wgsl")
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.shares() as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let results = self.first + self.shares();
        vec![self.n, results, results]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 4.0 * self.n as f64,
            ops: 3.0 * self.n as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, squares): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let largest: &mut [u32] = b.write(2);
        for (i, share) in x[..self.n].chunks(self.share()).enumerate() {
            let sum: f64 = share.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
            squares[self.first + i] = sum as f32;
            let bits = share.iter().map(|v| v.to_bits() & 0x7fff_ffff);
            largest[self.first + i] = bits.max().unwrap_or(0);
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::grad_norm()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, first, x: &[f32]| {
            let op = Self { n: x.len(), first };
            let results = first + op.shares();
            let data = vec![Data::f32(x), Data::Out(results), Data::Out(results)];
            Case::new(name, op, data)
        };
        let mut bad = noise(101, 9000, 1.0);
        (bad[5000], bad[8999]) = (f32::INFINITY, f32::NEG_INFINITY);
        vec![
            case("one value", 0, &[-3.0]),
            case("several shares", 5, &noise(102, 20_000, 2.0)),
            case(
                "shares of more than the least",
                0,
                &noise(103, 2_300_001, 1e-3),
            ),
            case("infinities", 1, &bad),
        ]
    }
}

/// One step of AdamW (decoupled weight decay), as PyTorch's `torch.optim.AdamW` does it:
/// `g = factor gradient; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
/// x = keep x - step m / (sqrt(v) / root + eps)`.
///
/// Bindings: `gradient`, `x`, `m` and `v` f32, of which `n` values from a given place on are taken.
#[derive(Debug, Clone)]
pub struct Adamw {
    /// Values.
    pub n: usize,
    /// The step's constants.
    pub update: Update,
    /// Place of the first value in `gradient`.
    pub gradient_first: usize,
    /// Place of the first value in `x`.
    pub x_first: usize,
    /// Place of the first value in `m` and `v`.
    pub moments_first: usize,
}

impl Adamw {
    /// The step of all values of a tensor.
    pub const fn whole(n: usize, update: Update) -> Self {
        Self {
            n,
            update,
            gradient_first: 0,
            x_first: 0,
            moments_first: 0,
        }
    }
}

/// Constants of a step of [`Adamw`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update {
    /// Multiplies the gradient: clipping, and the loss scale undone.
    pub factor: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Learning rate.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Number of this step, from 1 on.
    pub step: u64,
}

/// Uniform block of [`Adamw`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct AdamwParams {
    n: u32,
    factor: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    keep: f32,
    step: f32,
    root: f32,
    eps: f32,
    gradient_first: u32,
    x_first: u32,
    moments_first: u32,
}

impl Op for Adamw {
    const NAME: &'static str = "adamw";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, train / "adamw")];
    const BINDINGS: &'static [Binding] = &[
        read("gradient", Elem::F32),
        write("x", Elem::F32),
        write("m", Elem::F32),
        write("v", Elem::F32),
    ];
    // a dozen roundings of a value
    const AGREE: Agree = Agree::Nmse(1e-12);
    type Params = AdamwParams;

    fn params(&self) -> AdamwParams {
        let u = &self.update;
        let power = u.step.min(1 << 30) as i32;
        AdamwParams {
            n: self.n as u32,
            factor: u.factor as f32,
            rest1: (1.0 - u.beta1) as f32,
            beta2: u.beta2 as f32,
            rest2: (1.0 - u.beta2) as f32,
            keep: (1.0 - u.lr * u.weight_decay) as f32,
            step: (u.lr / (1.0 - u.beta1.powi(power))) as f32,
            root: (1.0 - u.beta2.powi(power)).sqrt() as f32,
            eps: u.eps as f32,
            gradient_first: self.gradient_first as u32,
            x_first: self.x_first as u32,
            moments_first: self.moments_first as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.n.div_ceil(4096) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let n = self.n;
        let moments = self.moments_first + n;
        vec![self.gradient_first + n, self.x_first + n, moments, moments]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 28.0 * self.n as f64,
            ops: 14.0 * self.n as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let gradient = &b.read::<f32>(0)[self.gradient_first..];
        let x = &mut b.write::<f32>(1)[self.x_first..];
        let [m, v] = [2, 3].map(|i| &mut b.write::<f32>(i)[self.moments_first..]);
        let u = &self.update;
        let power = u.step.min(1 << 30) as i32;
        let (first, second) = (1.0 - u.beta1.powi(power), 1.0 - u.beta2.powi(power));
        for i in 0..self.n {
            let g = u.factor * f64::from(gradient[i]);
            let mean = u.beta1 * f64::from(m[i]) + (1.0 - u.beta1) * g;
            let square = u.beta2 * f64::from(v[i]) + (1.0 - u.beta2) * g * g;
            let kept = f64::from(x[i]) * (1.0 - u.lr * u.weight_decay);
            x[i] = (kept - u.lr * (mean / first) / ((square / second).sqrt() + u.eps)) as f32;
            (m[i], v[i]) = (mean as f32, square as f32);
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let gradient = &b.read::<f32>(0)[self.gradient_first..][..self.n];
        let x = &mut b.write::<f32>(1)[self.x_first..];
        let [m, v] = [2, 3].map(|i| &mut b.write::<f32>(i)[self.moments_first..]);
        let p = self.params();
        let blocks = gradient.chunks(4096).zip(x.chunks_mut(4096));
        let blocks = blocks.zip(m.chunks_mut(4096).zip(v.chunks_mut(4096)));
        cpu::each_worth(blocks.collect(), 4000, |((gradient, x), (m, v))| {
            for ((&g, x), (m, v)) in gradient.iter().zip(x).zip(m.iter_mut().zip(v)) {
                let g = p.factor * g;
                // PyTorch's order of roundings
                *m += p.rest1 * (g - *m);
                *v = p.beta2 * *v + p.rest2 * g * g;
                *x = p.keep * *x - p.step * *m / (v.sqrt() / p.root + p.eps);
            }
        });
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::adamw()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, n, step, weight_decay, firsts: [usize; 3]| {
            let [gradient_first, x_first, moments_first] = firsts;
            let update = Update {
                factor: 0.8,
                beta1: 0.9,
                beta2: 0.95,
                eps: 1e-8,
                lr: 1e-3,
                weight_decay,
                step,
            };
            let moment = |seed, amplitude: f32| -> Vec<f32> {
                let on = if step > 1 { amplitude } else { 0.0 };
                noise(seed, moments_first + n, on)
            };
            let squares: Vec<f32> = moment(113, 0.01).iter().map(|v| v.abs()).collect();
            let data = vec![
                Data::f32(&noise(110, gradient_first + n, 0.1)),
                Data::f32(&noise(111, x_first + n, 0.05)),
                Data::f32(&moment(112, 0.1)),
                Data::f32(&squares),
            ];
            let op = Self {
                n,
                update,
                gradient_first,
                x_first,
                moments_first,
            };
            Case::new(name, op, data)
        };
        vec![
            case("first step", 5000, 1, 0.1, [0; 3]),
            case("later step, no decay", 333, 1000, 0.0, [0; 3]),
            case("some of many values", 700, 7, 0.1, [512, 256, 3]),
        ]
    }
}
