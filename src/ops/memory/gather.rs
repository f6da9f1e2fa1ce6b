//! Rows and columns of a matrix, in any order.

use super::cases;
use crate::ops::*;

/// Index that stands for padding: zeros.
pub const PADDING: u32 = u32::MAX;

/// `y[i, j] = x[rows[i], columns[j]]`, 0 where an index is [`PADDING`]; `diagonal` is added where i = j.
///
/// Bindings: `x` f32, its element (r, c) at `r * x_stride + c`; `rows`, `columns` u32 lists of indices; `y` f32, its
/// element (i, j) at `y_offset + i * y_stride + j`.
#[derive(Debug, Clone)]
pub struct Gather {
    /// Rows of `y`.
    pub n_rows: usize,
    /// Columns of `y`.
    pub n_columns: usize,
    /// Row i of `y` takes entry `rows_offset + i` of the list `rows`.
    pub rows_offset: usize,
    /// Column j of `y` takes entry `columns_offset + j` of the list `columns`.
    pub columns_offset: usize,
    /// From row to row of `x`.
    pub x_stride: usize,
    /// Words that `x` must have.
    pub x_len: usize,
    /// Index of the first element in `y`.
    pub y_offset: usize,
    /// From row to row of `y`.
    pub y_stride: usize,
    /// Added where i = j.
    pub diagonal: f32,
    /// Whether `x` is symmetric, and only its lower triangle is read.
    pub symmetric: bool,
}

params! {
    /// Uniform block of [`Gather`].
    pub struct GatherParams {
        n_rows: u32,
        n_columns: u32,
        rows_offset: u32,
        columns_offset: u32,
        x_stride: u32,
        y_offset: u32,
        y_stride: u32,
        diagonal: f32,
        symmetric: u32,
    }
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

    fn shape(&self) -> String {
        let Self {
            n_rows,
            n_columns,
            rows_offset,
            columns_offset,
            ..
        } = self;
        let Self {
            x_stride,
            x_len,
            y_offset,
            y_stride,
            ..
        } = self;
        format!(
            "n_rows={n_rows},n_columns={n_columns},rows_offset={rows_offset},columns_offset={columns_offset},\
             x_stride={x_stride},x_len={x_len},y_offset={y_offset},y_stride={y_stride},diagonal={},symmetric={}",
            self.diagonal, self.symmetric
        )
    }

    fn params(&self) -> GatherParams {
        GatherParams {
            n_rows: self.n_rows as u32,
            n_columns: self.n_columns as u32,
            rows_offset: self.rows_offset as u32,
            columns_offset: self.columns_offset as u32,
            x_stride: self.x_stride as u32,
            y_offset: self.y_offset as u32,
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
            rows => self.y_offset + (rows - 1) * self.y_stride + self.n_columns,
        };
        let (rows, columns) = (
            self.rows_offset + self.n_rows,
            self.columns_offset + self.n_columns,
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
        let columns = &columns[self.columns_offset..][..self.n_columns];
        for (i, &r) in rows[self.rows_offset..][..self.n_rows].iter().enumerate() {
            let dst = &mut y[self.y_offset + i * self.y_stride..][..self.n_columns];
            for (j, (dst, &c)) in dst.iter_mut().zip(columns).enumerate() {
                let padding = r == PADDING || c == PADDING;
                let (r, c) = match self.symmetric {
                    true => (r.max(c), r.min(c)),
                    false => (r, c),
                };
                let value = match padding {
                    true => 0.0,
                    false => x[r as usize * self.x_stride + c as usize],
                };
                *dst = if i == j { value + self.diagonal } else { value };
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::gather()
    }
}
