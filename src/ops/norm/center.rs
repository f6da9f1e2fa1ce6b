//! Subtracting the mean.

use crate::ops::*;

/// `y = x - mean(x)` for every token: what makes a root-mean-square norm a layer norm. It is its own gradient.
///
/// Bindings: `x`, `y` [tokens, n] f32.
#[derive(Debug, Clone)]
pub struct Center {
    /// Tokens.
    pub tokens: usize,
    /// Values per token.
    pub n: usize,
    /// Add to `y` instead of overwriting it.
    pub accumulate: bool,
}

params! {
    /// Uniform block of [`Center`].
    pub struct CenterParams {
        tokens: u32,
        n: u32,
        accumulate: u32,
    }
}

impl Op for Center {
    const NAME: &'static str = "center";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, norm / "center", "reduce")];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::F32), write("y", Elem::F32)];
    // sums by lanes against sums in f64
    const AGREE: Agree = Agree::Nmse(1e-13);
    type Params = CenterParams;

    fn shape(&self) -> String {
        let accumulate = if self.accumulate { ",accumulate=1" } else { "" };
        format!("tokens={},n={}{accumulate}", self.tokens, self.n)
    }

    fn params(&self) -> CenterParams {
        CenterParams {
            tokens: self.tokens as u32,
            n: self.n as u32,
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
        vec![self.tokens * self.n; 2]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 8.0 * (self.tokens * self.n) as f64,
            ops: 2.0 * (self.tokens * self.n) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, y): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let rows = x.chunks_exact(self.n).zip(y.chunks_exact_mut(self.n));
        for (x, y) in rows.take(self.tokens) {
            let sum: f64 = x.iter().map(|&x| f64::from(x)).sum();
            let mean = sum / self.n as f64;
            for (y, &x) in y.iter_mut().zip(x) {
                let before = if self.accumulate { f64::from(*y) } else { 0.0 };
                *y = (before + (f64::from(x) - mean)) as f32;
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |tokens, n, shift: f32, accumulate| {
            let x = noise(157, tokens * n, 1.0);
            let x: Vec<f32> = x.iter().map(|x| x + shift).collect();
            let y = match accumulate {
                true => Data::f32(&noise(158, tokens * n, 1.0)),
                false => Data::Out(tokens * n),
            };
            let op = Self {
                tokens,
                n,
                accumulate,
            };
            Case::new(format!("shift={shift}"), op, vec![Data::f32(&x), y])
        };
        vec![
            case(3, 75, 2.0, false),
            case(2, 700, 0.5, true),
            case(1, 1, 0.0, false),
        ]
    }
}
