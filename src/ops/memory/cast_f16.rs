//! Factors in half precision for the matrix units.

use crate::ops::*;
use bytemuck::Zeroable;

/// Some columns of rows in f32, in f16 and side by side. Values beyond f16 become infinities.
///
/// Bindings: `x` [rows, stride] f32; `y` [rows, columns] f16. All sizes are multiples of four.
#[derive(Debug, Clone)]
pub struct CastF16 {
    /// Rows.
    pub rows: usize,
    /// Columns to convert.
    pub columns: usize,
    /// Values from row to row of `x`.
    pub stride: usize,
    /// Place of the first value in `x`.
    pub first: usize,
}

/// Uniform block of [`CastF16`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct CastF16Params {
    rows: u32,
    quads: u32,
    stride: u32,
    first: u32,
}

impl Op for CastF16 {
    const NAME: &'static str = "cast_f16";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, memory / "cast_f16")];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::F32), write("y", Elem::F16x2)];
    // devices may round to either neighbour: 2^-11 of a value at most
    const AGREE: Agree = Agree::Nmse(1.2e-7);
    type Params = CastF16Params;

    fn params(&self) -> CastF16Params {
        CastF16Params {
            rows: self.rows as u32,
            quads: (self.columns / 4) as u32,
            stride: (self.stride / 4) as u32,
            first: (self.first / 4) as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.rows * self.columns / 4)
    }

    fn lengths(&self) -> Vec<usize> {
        let x = self.first + self.rows.saturating_sub(1) * self.stride + self.columns;
        vec![x, self.rows * self.columns / 2]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 6.0 * (self.rows * self.columns) as f64,
            ops: 0.0,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, y): (&[f32], &mut [half::f16]) = (b.read(0), b.write(1));
        for row in 0..self.rows {
            let from = &x[self.first + row * self.stride..][..self.columns];
            let to = &mut y[row * self.columns..][..self.columns];
            for (to, &from) in to.iter_mut().zip(from) {
                *to = half::f16::from_f32(from);
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, rows, columns, stride, first| {
            let op = Self {
                rows,
                columns,
                stride,
                first,
            };
            let [x, y] = [op.lengths()[0], op.lengths()[1]];
            let data = vec![Data::f32(&noise(19, x, 3.0)), Data::Out(y)];
            Case::new(name, op, data)
        };
        vec![
            case("whole rows", 3, 300, 300, 0),
            case("some columns", 7, 64, 160, 32),
            case("four values", 1, 4, 4, 0),
        ]
    }
}
