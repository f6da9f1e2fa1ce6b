//! Unpacks bf16 to f32.

use super::bf16;
use crate::ops::*;

mod cases;

/// bf16 to f32.
///
/// Bindings: `x` two bf16 a word; those from value `offset` on are read; `y` `[n]` f32.
#[derive(Debug, Clone)]
pub struct Bf16Unpack {
    /// Values.
    pub n: usize,
    /// Index of the first of them in `x`, even.
    pub offset: usize,
}

params! {
    /// Uniform block of [`Bf16Unpack`].
    pub struct Bf16UnpackParams {
        n: u32,
        offset: u32,
    }
}

impl Op for Bf16Unpack {
    const NAME: &'static str = "bf16_unpack";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, train / "bf16_unpack")];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::U32), write("y", Elem::F32)];
    const AGREE: Agree = Agree::Bits;
    type Params = Bf16UnpackParams;

    fn shape(&self) -> String {
        format!("n={},offset={}", self.n, self.offset)
    }

    fn params(&self) -> Bf16UnpackParams {
        Bf16UnpackParams {
            n: self.n as u32,
            offset: self.offset as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.n.div_ceil(2))
    }

    fn lengths(&self) -> Vec<usize> {
        vec![bf16::words(self.offset + self.n), self.n]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 6.0 * self.n as f64,
            ops: 0.0,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, y): (&[u32], &mut [u32]) = (b.read(0), b.write(1));
        for (i, y) in y[..self.n].iter_mut().enumerate() {
            let index = self.offset + i;
            *y = x[index / 2] >> (16 * (index % 2)) << 16;
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
