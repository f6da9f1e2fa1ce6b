//! Copying: the time that any kernel would take if it did nothing but move its bytes. The bench divides by it.

use super::cases;
use crate::ops::*;

/// Vectors of four words per workgroup.
const PER_GROUP: usize = 1024;

/// `y = x`. Bindings: `x`, `y` [quads, 4] u32.
#[derive(Debug, Clone)]
pub struct Copy {
    /// Vectors of four words.
    pub quads: usize,
}

params! {
    /// Uniform block of [`struct@Copy`].
    pub struct CopyParams {
        quads: u32,
    }
}

impl Op for Copy {
    const NAME: &'static str = "copy";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, memory / "copy")];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::U32), write("y", Elem::U32)];
    const AGREE: Agree = Agree::Bits;
    type Params = CopyParams;

    fn shape(&self) -> String {
        format!("quads={}", self.quads)
    }

    fn params(&self) -> CopyParams {
        CopyParams {
            quads: self.quads as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.quads.div_ceil(PER_GROUP) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![4 * self.quads; 2]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 32.0 * self.quads as f64,
            ops: 0.0,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, y): (&[u32], &mut [u32]) = (b.read(0), b.write(1));
        y[..4 * self.quads].copy_from_slice(&x[..4 * self.quads]);
    }

    fn cases() -> Vec<Case<Self>> {
        cases::copy()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_copy()
    }
}
