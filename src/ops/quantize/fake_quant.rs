//! Rounding of tokens whose values stay f32.

use super::activations::{Activations, absmax_of, round};
use super::cases;
use crate::ops::*;

/// Puts tokens on the grid of their integers, as f32: what a dense layer sees when activations are rounded. `y = round_half_even(x * levels / absmax) * absmax / levels`, absmax at least 1e-5.
///
/// Bindings: `x` and `y` [tokens, columns] f32.
#[derive(Debug, Clone)]
pub struct FakeQuant {
    /// Tokens.
    pub tokens: usize,
    /// Real values of a token.
    pub columns: usize,
    /// [`Activations::Int16`] or [`Activations::Int8`].
    pub mode: Activations,
}

impl FakeQuant {
    fn new(tokens: usize, columns: usize, mode: Activations) -> Self {
        Self {
            tokens,
            columns,
            mode,
        }
    }
}

params! {
    /// Uniform block of [`FakeQuant`].
    pub struct FakeQuantParams {
        tokens: u32,
        columns: u32,
        levels: u32,
        inverse: f32,
    }
}

impl Op for FakeQuant {
    const NAME: &'static str = "fake_quant";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        quantize / "fake_quant",
        "wide",
        "round"
    )];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::F32), write("y", Elem::F32)];
    // the integer is exact; two products and the rounded 1 / levels remain
    const AGREE: Agree = Agree::Ulp(3);
    type Params = FakeQuantParams;

    fn shape(&self) -> String {
        format!("n={},k={},act={}", self.tokens, self.columns, self.mode)
    }

    fn params(&self) -> FakeQuantParams {
        FakeQuantParams {
            tokens: self.tokens as u32,
            columns: self.columns as u32,
            levels: self.mode.levels(),
            inverse: 1.0 / self.mode.levels() as f32,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.tokens as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.tokens * self.columns; 2]
    }

    fn cost(&self) -> Cost {
        let n = (self.tokens * self.columns) as f64;
        Cost {
            bytes: 8.0 * n,
            ops: 4.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, y): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let tokens = x.chunks(self.columns).zip(y.chunks_mut(self.columns));
        for (x, y) in tokens.take(self.tokens) {
            let absmax = absmax_of(x);
            let step = f64::from(absmax) / f64::from(self.mode.levels());
            for (y, &x) in y.iter_mut().zip(x) {
                *y = (f64::from(round(x, absmax, self.mode)) * step) as f32;
            }
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_tokens(&[Made::Floats, Made::Zeros], Self::new)
    }

    fn cases() -> Vec<Case<Self>> {
        cases::tokens(Self::new)
    }
}
