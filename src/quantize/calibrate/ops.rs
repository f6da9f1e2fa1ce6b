//! Products and rearrangements of matrices as calibration writes them.

use crate::backend::Backend;
use crate::error::Result;
use crate::ops::memory::Gather;
use crate::ops::train::{MatmulTrain, MatrixView};

/// Where in a buffer a matrix is written.
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
    pub(super) fn rows(rows: usize, columns: usize) -> Self {
        Self {
            rows,
            columns,
            first: 0,
            stride: columns,
        }
    }
}

/// A list of indices, and the entry that it is read from.
pub(super) type List<'a, T> = (&'a T, usize);

/// `dst[i, j] = src[rows[i], columns[j]]`, plus `diagonal` where i = j; `src` is a buffer with its length and the distance of
/// its rows.
pub(super) async fn gather<B: Backend>(
    backend: &B,
    (src, x_len, x_stride): (&B::Buffer, usize, usize),
    (rows, rows_first): List<'_, B::Buffer>,
    (columns, columns_first): List<'_, B::Buffer>,
    (dst, area): (&B::Buffer, Area),
    diagonal: f32,
) -> Result<()> {
    let op = Gather {
        n_rows: area.rows,
        n_columns: area.columns,
        rows_offset: rows_first,
        columns_offset: columns_first,
        x_stride,
        x_len,
        y_offset: area.first,
        y_stride: area.stride,
        diagonal,
        symmetric: false,
    };
    backend.run(&op, &[src, rows, columns, dst]).await
}

/// `dst[i, j] = src[list[i], list[j]]`, plus `diagonal` where i = j, for a symmetric matrix [n, n] whose lower triangle alone is
/// there.
pub(super) async fn gather_symmetric<B: Backend>(
    backend: &B,
    (src, n): (&B::Buffer, usize),
    list: &B::Buffer,
    (dst, columns): (&B::Buffer, usize),
    diagonal: f32,
) -> Result<()> {
    let op = Gather {
        n_rows: columns,
        n_columns: columns,
        rows_offset: 0,
        columns_offset: 0,
        x_stride: n,
        x_len: n * n,
        y_offset: 0,
        y_stride: columns,
        diagonal,
        symmetric: true,
    };
    backend.run(&op, &[src, list, list, dst]).await
}

/// `c [m, n] = a [m, k] * b [n, k]^T`.
pub(super) fn product(
    size: [usize; 3],
    a: MatrixView,
    b: MatrixView,
    c: MatrixView,
) -> MatmulTrain {
    MatmulTrain::new(size, a, b, c)
}
