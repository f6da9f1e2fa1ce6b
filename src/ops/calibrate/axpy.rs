//! Adding a multiple of one vector to another.

use crate::ops::*;

/// `y += factor * x`. Bindings: `x`, `y` `[n]` f32.
#[derive(Debug, Clone)]
pub struct Axpy {
    /// Values.
    pub n: usize,
    /// Multiple of `x`.
    pub factor: f32,
}

params! {
    /// Uniform block of [`Axpy`].
    pub struct AxpyParams {
        n: u32,
        factor: f32,
    }
}

impl Op for Axpy {
    const NAME: &'static str = "axpy";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, calibrate / "axpy")];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::F32), write("y", Elem::F32)];
    // devices may fuse the product and the sum
    const AGREE: Agree = Agree::Nmse(1e-14);
    type Params = AxpyParams;

    fn shape(&self) -> String {
        format!("n={},factor={}", self.n, self.factor)
    }

    fn params(&self) -> AxpyParams {
        AxpyParams {
            n: self.n as u32,
            factor: self.factor,
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.n)
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.n; 2]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 12.0 * self.n as f64,
            ops: 2.0 * self.n as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, y): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        for (y, &x) in y.iter_mut().zip(x).take(self.n) {
            *y += self.factor * x;
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |n, factor| {
            let data = vec![
                Data::f32(&noise(145, n, 1.0)),
                Data::f32(&noise(146, n, 1.0)),
            ];
            Case::new("", Self { n, factor }, data)
        };
        vec![
            case(1, 0.5),
            // several workgroups, the last of them not full
            case(1000, -1.0),
        ]
    }
}
