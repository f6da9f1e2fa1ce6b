//! Copying: what any kernel would cost if it did nothing but move its bytes. The bench divides by it.

use crate::ops::*;
use bytemuck::Zeroable;

/// Vectors of four words per workgroup.
const PER_GROUP: usize = 1024;

/// `y = x`. Bindings: `x`, `y` [quads, 4] u32.
#[derive(Debug, Clone)]
pub struct Copy {
    /// Vectors of four words.
    pub quads: usize,
}

/// Uniform block of [`struct@Copy`].
#[repr(C)]
#[derive(Debug, Clone, ::core::marker::Copy, Pod, Zeroable)]
pub struct CopyParams {
    quads: u32,
}

impl Op for Copy {
    const NAME: &'static str = "copy";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, memory / "copy")];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::U32), write("y", Elem::U32)];
    const AGREE: Agree = Agree::Bits;
    type Params = CopyParams;

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

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::copy()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, quads| {
            let data = vec![Data::Words(noise_u32(1, 4 * quads)), Data::Out(4 * quads)];
            Case::new(name, Self { quads }, data)
        };
        vec![
            case("one vector", 1),
            case("several workgroups and a bit", 4101),
        ]
    }
}
