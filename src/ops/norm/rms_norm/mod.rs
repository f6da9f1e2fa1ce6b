//! Root-mean-square norm.

use super::Rms;
use crate::ops::*;

mod cases;

/// Root-mean-square norm of every token: `y = x / sqrt(mean(x^2) + eps) * weight`. [`Rms`] says what the mean
/// is over. With `accumulate` that is added to `y`.
///
/// Bindings: `x` [tokens, n] f32; `weight` `[n]` f32; `y` [tokens, n] f32.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    /// Tokens.
    pub tokens: usize,
    /// Values per token.
    pub n: usize,
    /// What it divides by.
    pub rms: Rms,
    /// Add to `y` instead of overwriting it.
    pub accumulate: bool,
}

params! {
    /// Uniform block of [`RmsNorm`].
    pub struct RmsNormParams {
        tokens: u32,
        n: u32,
        count: u32,
        eps: f32,
        accumulate: u32,
    }
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

    fn agree(&self) -> Agree {
        match self.accumulate {
            // 16 ULP of what is added, which may nearly cancel what is there
            true => Agree::Nmse(1e-12),
            false => Self::AGREE,
        }
    }

    fn shape(&self) -> String {
        let accumulate = if self.accumulate { ",accumulate=1" } else { "" };
        format!(
            "tokens={},n={},{}{accumulate}",
            self.tokens, self.n, self.rms
        )
    }

    fn params(&self) -> RmsNormParams {
        RmsNormParams {
            tokens: self.tokens as u32,
            n: self.n as u32,
            count: self.rms.count(self.n) as u32,
            eps: self.rms.eps,
            accumulate: self.accumulate.into(),
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.tokens as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.tokens * self.n, self.n, self.tokens * self.n]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 4.0 * (2 * self.tokens * self.n + self.n) as f64,
            ops: 4.0 * (self.tokens * self.n) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, weight): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let y: &mut [f32] = b.write(2);
        for (x, y) in x
            .chunks_exact(self.n)
            .zip(y.chunks_exact_mut(self.n))
            .take(self.tokens)
        {
            let squares: f64 = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
            let mean = squares / self.rms.count(self.n) as f64;
            let root = (mean + f64::from(self.rms.eps)).sqrt();
            for ((y, &x), &w) in y.iter_mut().zip(x).zip(weight) {
                let before = if self.accumulate { f64::from(*y) } else { 0.0 };
                *y = (before + f64::from(x) / root * f64::from(w)) as f32;
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (x, weight): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let y: &mut [f32] = b.write(2);
        let rows = x.chunks_exact(self.n).zip(y.chunks_exact_mut(self.n));
        let count = self.rms.count(self.n);
        // a value takes half a nanosecond
        cpu::each_worth(rows.take(self.tokens).collect(), self.n / 2, |(x, y)| {
            if !self.accumulate {
                return cpu::normed(x, &weight[..self.n], count, self.rms.eps, y);
            }
            let mut normed = vec![0.0; self.n];
            cpu::normed(x, &weight[..self.n], count, self.rms.eps, &mut normed);
            y.iter_mut().zip(&normed).for_each(|(y, v)| *y += v);
        });
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
