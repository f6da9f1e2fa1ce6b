//! Where a matrix lies in its buffer.

use std::fmt;

/// Offset and strides of a matrix in its buffer, in values. A batch is several sequences with several heads each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MatrixView {
    /// Index of its first value.
    pub offset: usize,
    /// From row to row.
    pub stride: usize,
    /// From the matrix of one head to that of the next.
    pub head_stride: usize,
    /// From the first head of one sequence to that of the next.
    pub sequence_stride: usize,
    /// Whether it lies transposed: the rows that the product reads are the columns in memory. Never of the result.
    pub transposed: bool,
}

impl MatrixView {
    /// Rows of `columns` values, one after the other, from the buffer's beginning.
    pub fn rows(columns: usize) -> Self {
        Self {
            stride: columns,
            ..Self::default()
        }
    }

    /// The same values, read transposed.
    pub fn transposed(self) -> Self {
        Self {
            transposed: true,
            ..self
        }
    }

    /// Index of an element, as the product names it.
    pub(super) fn index(
        &self,
        (sequence, head): (usize, usize),
        row: usize,
        column: usize,
    ) -> usize {
        let (row, column) = match self.transposed {
            true => (column, row),
            false => (row, column),
        };
        let first = self.offset + sequence * self.sequence_stride + head * self.head_stride;
        first + row * self.stride + column
    }

    /// Values its buffer must have.
    pub(super) fn length(
        &self,
        (sequences, heads): (usize, usize),
        rows: usize,
        columns: usize,
    ) -> usize {
        if sequences * heads * rows * columns == 0 {
            return 0;
        }
        self.index((sequences - 1, heads - 1), rows - 1, columns - 1) + 1
    }
}

/// `offset/stride/head_stride/sequence_stride`, then a T if the matrix lies transposed; strides that are 0 at the end are
/// left out.
impl fmt::Display for MatrixView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.offset, self.stride)?;
        if self.head_stride + self.sequence_stride > 0 {
            write!(f, "/{}/{}", self.head_stride, self.sequence_stride)?;
        }
        f.write_str(if self.transposed { "T" } else { "" })
    }
}
