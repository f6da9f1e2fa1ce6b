//! Which weights share scales.

/// Which weights share a pair of scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// The whole tensor (the papers').
    Tensor,
    /// One complex output row.
    Row,
    /// This many neighbouring complex columns of a row: a positive multiple of 16.
    Group(usize),
    /// Neighbouring complex rows of neighbouring complex columns. The products of inference know no tiles: they are given
    /// [`Granularity::of_rows`].
    Tile {
        /// Rows.
        rows: usize,
        /// Columns: a positive multiple of 16.
        columns: usize,
    },
}

impl Granularity {
    /// How products see it: a tile is groups of columns in rows that have equal scales.
    #[must_use]
    pub fn of_rows(self) -> Self {
        match self {
            Self::Tile { columns, .. } => Self::Group(columns),
            other => other,
        }
    }

    /// Complex rows of a scale block, where it is not the whole tensor: 1, or those of a tile.
    pub fn block_rows(self) -> usize {
        match self {
            Self::Tile { rows, .. } => rows,
            _ => 1,
        }
    }

    /// As recipes write it: `tensor`, `row`, `group:N` or `tile:RxN`.
    pub(super) fn setting(self) -> String {
        match self {
            Self::Tensor => "tensor".to_owned(),
            Self::Row => "row".to_owned(),
            Self::Group(columns) => format!("group:{columns}"),
            Self::Tile { rows, columns } => format!("tile:{rows}x{columns}"),
        }
    }
}
