//! Parts of matrices, their rows and columns in any order.

use crate::ops::*;
use bytemuck::Zeroable;

/// Index that stands for padding: zeros.
pub const PADDING: u32 = u32::MAX;

/// `y[i, j] = x[rows[i], columns[j]]`, 0 where an index is [`PADDING`]; and something more on the diagonal.
///
/// Bindings: `x` f32, its element (r, c) at `r * x_stride + c`; `rows`, `columns` u32 lists of indices; `y` f32, its
/// element (i, j) at `y_first + i * y_stride + j`.
#[derive(Debug, Clone)]
pub struct Gather {
    /// Rows of `y`.
    pub n_rows: usize,
    /// Columns of `y`.
    pub n_columns: usize,
    /// The row of `y` number i takes entry `rows_first + i` of its list.
    pub rows_first: usize,
    /// The same of columns.
    pub columns_first: usize,
    /// From row to row of `x`.
    pub x_stride: usize,
    /// Words that `x` must have.
    pub x_len: usize,
    /// Place of the first element in `y`.
    pub y_first: usize,
    /// From row to row of `y`.
    pub y_stride: usize,
    /// Added where i = j.
    pub diagonal: f32,
    /// `x` is symmetric, and only its lower triangle is read.
    pub symmetric: bool,
}

/// Uniform block of [`Gather`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct GatherParams {
    n_rows: u32,
    n_columns: u32,
    rows_first: u32,
    columns_first: u32,
    x_stride: u32,
    y_first: u32,
    y_stride: u32,
    diagonal: f32,
    symmetric: u32,
}

impl Op for Gather {
    const NAME: &'static str = "gather";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, memory / "gather")];
    const BINDINGS: &'static [Binding] = &[
        read("x", Elem::F32),
        read("rows", Elem::U32),
        read("columns", Elem::U32),
        write("y", Elem::F32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = GatherParams;

    fn params(&self) -> GatherParams {
        GatherParams {
            n_rows: self.n_rows as u32,
            n_columns: self.n_columns as u32,
            rows_first: self.rows_first as u32,
            columns_first: self.columns_first as u32,
            x_stride: self.x_stride as u32,
            y_first: self.y_first as u32,
            y_stride: self.y_stride as u32,
            diagonal: self.diagonal,
            symmetric: u32::from(self.symmetric),
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.n_rows * self.n_columns)
    }

    fn lengths(&self) -> Vec<usize> {
        let y = match self.n_rows {
            0 => 0,
            rows => self.y_first + (rows - 1) * self.y_stride + self.n_columns,
        };
        let (rows, columns) = (
            self.rows_first + self.n_rows,
            self.columns_first + self.n_columns,
        );
        vec![self.x_len, rows, columns, y]
    }

    fn cost(&self) -> Cost {
        let n = (self.n_rows * self.n_columns) as f64;
        Cost {
            bytes: 8.0 * n,
            ops: 0.0,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, rows, columns): (&[f32], &[u32], &[u32]) = (b.read(0), b.read(1), b.read(2));
        let y: &mut [f32] = b.write(3);
        let columns = &columns[self.columns_first..][..self.n_columns];
        for (i, &r) in rows[self.rows_first..][..self.n_rows].iter().enumerate() {
            let to = &mut y[self.y_first + i * self.y_stride..][..self.n_columns];
            for (j, (to, &c)) in to.iter_mut().zip(columns).enumerate() {
                let padding = r == PADDING || c == PADDING;
                let (r, c) = match self.symmetric {
                    true => (r.max(c), r.min(c)),
                    false => (r, c),
                };
                let value = match padding {
                    true => 0.0,
                    false => x[r as usize * self.x_stride + c as usize],
                };
                *to = if i == j { value + self.diagonal } else { value };
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, op: Self, x_rows: u32| {
            let x_columns = op.x_stride as u32;
            let lengths = op.lengths();
            let data = vec![
                Data::f32(&noise(151, lengths[0], 2.0)),
                Data::u32(&list(152, lengths[1], x_rows)),
                Data::u32(&list(153, lengths[2], x_columns)),
                Data::f32(&noise(154, lengths[3], 1.0)),
            ];
            Case::new(name, op, data)
        };
        let square = Self {
            n_rows: 24,
            n_columns: 24,
            rows_first: 0,
            columns_first: 0,
            x_stride: 23,
            x_len: 23 * 23,
            y_first: 0,
            y_stride: 24,
            diagonal: 0.25,
            symmetric: false,
        };
        let part = Self {
            n_rows: 70,
            n_columns: 9,
            rows_first: 3,
            columns_first: 5,
            x_stride: 40,
            x_len: 400,
            y_first: 11,
            y_stride: 31,
            diagonal: 0.0,
            symmetric: false,
        };
        let lower = Self {
            symmetric: true,
            ..square.clone()
        };
        vec![
            case("a square with a diagonal", square, 23),
            case("a symmetric one", lower, 23),
            case("columns into wider rows", part, 10),
        ]
    }
}

/// Indices below `most`, and padding among them.
fn list(seed: u32, len: usize, most: u32) -> Vec<u32> {
    let any = noise_u32(seed, len).into_iter();
    any.map(|v| if v % 7 == 3 { PADDING } else { v % most })
        .collect()
}
