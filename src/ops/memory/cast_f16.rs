//! Factors in half precision for the matrix units.

use super::cases;
use crate::ops::*;

/// Converts some columns of rows in f32 to f16, and puts them side by side. Values beyond f16 become infinities.
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
    /// Index of the first value in `x`.
    pub offset: usize,
}

params! {
    /// Uniform block of [`CastF16`].
    pub struct CastF16Params {
        rows: u32,
        quads: u32,
        stride: u32,
        offset: u32,
    }
}

impl Op for CastF16 {
    const NAME: &'static str = "cast_f16";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, memory / "cast_f16")];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::F32), write("y", Elem::F16x2)];
    // devices may round to either neighbour, which is off by at most 2^-11 of a value
    const AGREE: Agree = Agree::Nmse(1.2e-7);
    type Params = CastF16Params;

    fn shape(&self) -> String {
        let Self {
            rows,
            columns,
            stride,
            offset,
        } = self;
        format!("rows={rows},columns={columns},stride={stride},offset={offset}")
    }

    fn params(&self) -> CastF16Params {
        CastF16Params {
            rows: self.rows as u32,
            quads: (self.columns / 4) as u32,
            stride: (self.stride / 4) as u32,
            offset: (self.offset / 4) as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.rows * self.columns / 4)
    }

    fn lengths(&self) -> Vec<usize> {
        let x = self.offset + self.rows.saturating_sub(1) * self.stride + self.columns;
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
            let src = &x[self.offset + row * self.stride..][..self.columns];
            let dst = &mut y[row * self.columns..][..self.columns];
            for (dst, &src) in dst.iter_mut().zip(src) {
                *dst = half::f16::from_f32(src);
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cast_f16()
    }
}
