//! Weights that are only partly quantized yet.

use crate::ops::*;

mod cases;

/// `y = x + share * (y - x)`: quantized weights take over from the masters `x` little by little.
///
/// Bindings: `x` `[n]` f32; `y` `[n]` f32, in place.
#[derive(Debug, Clone)]
pub struct Lerp {
    /// Values.
    pub n: usize,
    /// Weight of the values that were in `y`: 0 gives `x` to the bit.
    pub share: f32,
}

params! {
    /// Uniform block of [`Lerp`].
    pub struct LerpParams {
        n: u32,
        share: f32,
    }
}

impl Op for Lerp {
    const NAME: &'static str = "lerp";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, train / "lerp")];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::F32), write("y", Elem::F32)];
    // devices may fuse the product and the sum: a few roundings of 2^-24
    const AGREE: Agree = Agree::Nmse(1e-14);
    type Params = LerpParams;

    fn shape(&self) -> String {
        format!("n={},share={}", self.n, self.share)
    }

    fn params(&self) -> LerpParams {
        LerpParams {
            n: self.n as u32,
            share: self.share,
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.n)
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.n, self.n]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 12.0 * self.n as f64,
            ops: 3.0 * self.n as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, y): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        for (y, &x) in y.iter_mut().zip(x).take(self.n) {
            *y = x + self.share * (*y - x);
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }
}
