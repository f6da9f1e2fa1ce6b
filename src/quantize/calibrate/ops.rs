//! Products and rearrangements of matrices as calibration writes them.

use crate::backend::Backend;
use crate::error::Result;
use crate::ops::memory::Gather;
use crate::ops::train::matmul::{MatmulTrain, Place};

/// Where a matrix lies that is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Area {
    pub rows: usize,
    pub columns: usize,
    /// Its first value.
    pub first: usize,
    /// From row to row.
    pub stride: usize,
}

impl Area {
    /// Rows one after the other from the buffer's beginning.
    pub fn rows(rows: usize, columns: usize) -> Self {
        Self {
            rows,
            columns,
            first: 0,
            stride: columns,
        }
    }
}

/// A list of indices, from its entry number so and so on.
pub(super) type List<'a, T> = (&'a T, usize);

/// `to[i, j] = from[rows[i], columns[j]]`, plus `diagonal` where i = j; `from` is a buffer with its length and the
/// distance of its rows.
pub(super) async fn gather<B: Backend>(
    backend: &B,
    (from, x_len, x_stride): (&B::Buffer, usize, usize),
    (rows, rows_first): List<'_, B::Buffer>,
    (columns, columns_first): List<'_, B::Buffer>,
    (to, area): (&B::Buffer, Area),
    diagonal: f32,
) -> Result<()> {
    let op = Gather {
        n_rows: area.rows,
        n_columns: area.columns,
        rows_first,
        columns_first,
        x_stride,
        x_len,
        y_first: area.first,
        y_stride: area.stride,
        diagonal,
        symmetric: false,
    };
    backend.run(&op, &[from, rows, columns, to]).await
}

/// `to[i, j] = from[list[i], list[j]]` for a symmetric matrix [n, n] of which the lower triangle is there, plus `diagonal`
/// where i = j.
pub(super) async fn gather_symmetric<B: Backend>(
    backend: &B,
    (from, n): (&B::Buffer, usize),
    list: &B::Buffer,
    (to, columns): (&B::Buffer, usize),
    diagonal: f32,
) -> Result<()> {
    let op = Gather {
        n_rows: columns,
        n_columns: columns,
        rows_first: 0,
        columns_first: 0,
        x_stride: n,
        x_len: n * n,
        y_first: 0,
        y_stride: columns,
        diagonal,
        symmetric: true,
    };
    backend.run(&op, &[from, list, list, to]).await
}

/// `c [m, n] = a [m, k] b [n, k]^T`.
pub(super) fn product(size: [usize; 3], a: Place, b: Place, c: Place) -> MatmulTrain {
    MatmulTrain::new(size, a, b, c)
}
