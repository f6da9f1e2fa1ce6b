//! The AdamW update.

use crate::ops::*;

mod cases;

/// One step of AdamW (decoupled weight decay), as PyTorch's `torch.optim.AdamW` does it:
/// `g = factor * gradient; m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g^2;
/// x = keep * x - step * m / (sqrt(v) / root + eps)`.
///
/// Bindings: `gradient`, `x`, `m` and `v` f32, each with an offset from which `n` values are taken.
#[derive(Debug, Clone)]
pub struct Adamw {
    /// Values.
    pub n: usize,
    /// The step's constants.
    pub update: Update,
    /// Index of the first value in `gradient`.
    pub gradient_offset: usize,
    /// Index of the first value in `x`.
    pub x_offset: usize,
    /// Index of the first value in `m` and `v`.
    pub moments_offset: usize,
}

impl Adamw {
    /// The step of all values of a tensor.
    pub const fn whole(n: usize, update: Update) -> Self {
        Self {
            n,
            update,
            gradient_offset: 0,
            x_offset: 0,
            moments_offset: 0,
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

params! {
    /// Uniform block of [`Adamw`].
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
        gradient_offset: u32,
        x_offset: u32,
        moments_offset: u32,
    }
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

    fn shape(&self) -> String {
        let u = &self.update;
        let hyper = format!("lr={},decay={},step={}", u.lr, u.weight_decay, u.step);
        let [gradient, x, moments] = [self.gradient_offset, self.x_offset, self.moments_offset];
        format!(
            "n={},{hyper},gradient_offset={gradient},x_offset={x},moments_offset={moments}",
            self.n
        )
    }

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
            gradient_offset: self.gradient_offset as u32,
            x_offset: self.x_offset as u32,
            moments_offset: self.moments_offset as u32,
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
        let moments = self.moments_offset + n;
        vec![
            self.gradient_offset + n,
            self.x_offset + n,
            moments,
            moments,
        ]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 28.0 * self.n as f64,
            ops: 14.0 * self.n as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let gradient = &b.read::<f32>(0)[self.gradient_offset..];
        let x = &mut b.write::<f32>(1)[self.x_offset..];
        let [m, v] = [2, 3].map(|i| &mut b.write::<f32>(i)[self.moments_offset..]);
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
        let gradient = &b.read::<f32>(0)[self.gradient_offset..][..self.n];
        let x = &mut b.write::<f32>(1)[self.x_offset..];
        let [m, v] = [2, 3].map(|i| &mut b.write::<f32>(i)[self.moments_offset..]);
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

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
