//! Where a matrix lies in its buffer.

use std::fmt;

/// Offset and stride of a matrix in its buffer, in values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MatrixView {
    /// Index of its first value.
    pub offset: usize,
    /// From row to row.
    pub stride: usize,
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
    pub(super) fn index(&self, row: usize, column: usize) -> usize {
        let (row, column) = match self.transposed {
            true => (column, row),
            false => (row, column),
        };
        self.offset + row * self.stride + column
    }

    /// Values its buffer must have.
    pub(super) fn length(&self, rows: usize, columns: usize) -> usize {
        if rows * columns == 0 {
            return 0;
        }
        self.index(rows - 1, columns - 1) + 1
    }
}

/// `offset/stride`, then a T if the matrix lies transposed.
impl fmt::Display for MatrixView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.offset, self.stride)?;
        f.write_str(if self.transposed { "T" } else { "" })
    }
}
