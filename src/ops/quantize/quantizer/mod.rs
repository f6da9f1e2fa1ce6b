//! The phase quantizer: scales, packing, unpacking (recursive residual quantization of arXiv 2512.02901).
//!
//! Residual stages are never stored: every op reads R and recomputes `E_t` from the scales of the stages
//! before. Sectors are found by comparisons, sums are integers, means are rounded once, and a float result is
//! one addition at a time, so all ops agree bit for bit with their references on every device that rounds
//! additions to nearest. R must be finite and below 2^127; subnormal weights count as 0.

use super::{merge, split};
use crate::codebook;
use crate::fixed;
use crate::ops::quantize::widely_linear;
use crate::ops::*;

mod host;
mod mean;
mod pack;
mod scale;

pub use mean::PhaseMean;
pub use pack::{PhasePack, PhaseUnpack};
pub use scale::PhaseScale;

pub(in crate::ops) use host::{power_of_two, square};

/// Which weights share a pair of scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// The whole tensor (the papers').
    Tensor,
    /// One complex output row.
    Row,
    /// So many neighbouring complex columns of a row: a positive multiple of 16.
    Group(usize),
    /// Neighbouring complex rows of neighbouring complex columns. Kernels know no tiles: they are given
    /// [`Granularity::of_rows`].
    Tile {
        /// Rows.
        rows: usize,
        /// Columns: a positive multiple of 16.
        columns: usize,
    },
}

impl Granularity {
    /// How kernels see it: a tile as groups of rows that have equal scales.
    #[must_use]
    pub fn of_rows(self) -> Self {
        match self {
            Self::Tile { columns, .. } => Self::Group(columns),
            other => other,
        }
    }

    /// Complex rows that share scales, where not all of them do: 1, or those of a tile.
    pub fn cell_rows(self) -> usize {
        match self {
            Self::Tile { rows, .. } => rows,
            _ => 1,
        }
    }
}

/// Least scale of the Fairy2i quantizer (iFairy's is 1e-5).
pub const LEAST_SCALE: f32 = 1e-6;

/// Most residual stages.
pub const MAX_STAGES: usize = 4;

/// A piece of a weight as one run sees it, and how its scales are shared.
///
/// Its buffer holds `rows` real rows of the upper half of R, then the `lower_rows` real rows that lie
/// ceil(out / 2) below them: `rows`, or one less if the last one would be the padding of an odd `out`.
/// R as a whole is such a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Complex rows that share the buffers of sums and scales.
    pub total_rows: usize,
    /// The piece's first row among them.
    pub first_row: usize,
    /// Complex rows of the piece.
    pub rows: usize,
    /// Lower real rows of the piece.
    pub lower_rows: usize,
    /// Real columns.
    pub columns: usize,
    /// Which weights share scales.
    pub granularity: Granularity,
    /// Residual stages.
    pub stages: usize,
    /// All magnitudes are below 2^exponent ([`fixed::exponent_of`]).
    pub exponent: i32,
}

impl Piece {
    /// A whole `[out, in]` weight.
    pub fn whole(
        out_features: usize,
        in_features: usize,
        granularity: Granularity,
        stages: usize,
        exponent: i32,
    ) -> Self {
        let rows = out_features.div_ceil(2);
        Self {
            total_rows: rows,
            first_row: 0,
            rows,
            lower_rows: out_features - rows,
            columns: in_features,
            granularity,
            stages,
            exponent,
        }
    }

    /// Complex columns.
    pub fn half(&self) -> usize {
        self.columns.div_ceil(2)
    }

    /// Complex columns that share scales.
    pub fn group(&self) -> usize {
        match self.granularity {
            Granularity::Group(g) | Granularity::Tile { columns: g, .. } => {
                g.min(self.half()).max(1)
            }
            _ => self.half().max(1),
        }
    }

    /// Groups of columns in a row.
    pub fn groups(&self) -> usize {
        self.half().div_ceil(self.group())
    }

    /// Whether every row has its own scales.
    pub fn by_row(&self) -> bool {
        self.granularity != Granularity::Tensor
    }

    /// f32 values in the piece's buffer.
    pub fn reals(&self) -> usize {
        (self.rows + self.lower_rows) * self.columns
    }

    /// Words of the sums of all rows: (low, high, count) by row, group, U or W, axis.
    pub fn sums(&self) -> usize {
        self.total_rows * self.groups() * 12
    }

    /// Scales of all rows, by cell, group, U or W, stage, axis.
    pub fn scales(&self) -> usize {
        let cells = if self.by_row() { self.total_rows } else { 1 };
        cells * self.groups() * 4 * self.stages
    }

    /// Words of the codes of the piece.
    pub fn codes(&self) -> usize {
        self.rows * 2 * self.stages * codebook::words_for(self.half())
    }

    /// Index of the first scale of a row's group: its stages of U follow, then those of W.
    pub(in crate::ops) fn scale_at(&self, row: usize, column: usize) -> usize {
        let cell = if self.by_row() {
            self.first_row + row
        } else {
            0
        };
        (cell * self.groups() + column / self.group()) * 4 * self.stages
    }

    /// The four real weights behind a complex one, by place in the buffer; `None` is padding.
    pub(in crate::ops) fn places(&self, row: usize, column: usize) -> [Option<usize>; 4] {
        let upper = row * self.columns + column;
        let lower = upper + self.rows * self.columns;
        let half = self.half();
        let right = column + half < self.columns;
        let below = row < self.lower_rows;
        [
            Some(upper),
            right.then_some(upper + half),
            below.then_some(lower),
            (right && below).then_some(lower + half),
        ]
    }

    /// (U, W) at a place as (re, im) pairs.
    pub(in crate::ops) fn parts(&self, r: &[f32], row: usize, column: usize) -> [[f32; 2]; 2] {
        let blocks = self.places(row, column).map(|p| p.map_or(0.0, |i| r[i]));
        let [u_re, u_im, w_re, w_im] = split(blocks);
        [[u_re, u_im], [w_re, w_im]]
    }

    pub(in crate::ops) fn params(&self) -> PieceParams {
        PieceParams {
            first_row: self.first_row as u32,
            rows: self.rows as u32,
            lower_rows: self.lower_rows as u32,
            columns: self.columns as u32,
            half: self.half() as u32,
            group: self.group() as u32,
            groups: self.groups() as u32,
            by_row: u32::from(self.by_row()),
            stages: self.stages as u32,
            exponent: self.exponent,
        }
    }
}

/// The WGSL that reads four columns of a piece at once.
fn columns_prelude(piece: &Piece) -> &'static str {
    if piece.columns.is_multiple_of(8) {
        include_str!("../../../../shaders/lib/columns_four.wgsl")
    } else {
        include_str!("../../../../shaders/lib/columns_any.wgsl")
    }
}

/// Uniform block of the ops on a [`Piece`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, bytemuck::Zeroable)]
pub struct PieceParams {
    first_row: u32,
    rows: u32,
    lower_rows: u32,
    columns: u32,
    half: u32,
    group: u32,
    groups: u32,
    by_row: u32,
    stages: u32,
    exponent: i32,
}

/// `(Re, Im)` of i^k with magnitudes `s`; no negative zeros.
pub(in crate::ops) fn value(k: u8, s: [f32; 2]) -> [f32; 2] {
    match k & 3 {
        0 => [s[0], 0.0],
        1 => [0.0, s[1]],
        2 => [-s[0], 0.0],
        _ => [0.0, -s[1]],
    }
}

/// Shapes of the ops' cases: pieces that are whole, cut, odd in either direction, in all granularities.
fn pieces() -> Vec<(&'static str, Piece)> {
    let whole = Piece::whole;
    let tensor = Granularity::Tensor;
    vec![
        ("one weight", whole(1, 1, tensor, 2, 0)),
        ("even", whole(24, 64, tensor, 2, 0)),
        ("both odd", whole(13, 77, tensor, 3, 0)),
        ("wide rows", whole(6, 4444, tensor, 2, 0)),
        ("per row", whole(21, 130, Granularity::Row, 2, 0)),
        ("per group", whole(9, 203, Granularity::Group(16), 4, 0)),
        ("ragged group", whole(10, 400, Granularity::Group(64), 2, 0)),
        ("wide group", whole(4, 100, Granularity::Group(128), 1, 0)),
        ("longer than a chunk", whole(3, 8712, tensor, 2, 0)),
        ("longer, odd", whole(2, 8211, tensor, 3, 0)),
        (
            "a piece from the middle",
            Piece {
                total_rows: 17,
                first_row: 5,
                ..whole(12, 90, tensor, 2, 0)
            },
        ),
        (
            "the last piece, by group",
            Piece {
                total_rows: 12,
                first_row: 6,
                ..whole(11, 99, Granularity::Group(32), 2, 0)
            },
        ),
    ]
}

/// Weights of a case's piece, with ties, zeros, subnormals and tiny values, and the piece with their exponent.
fn weights(piece: Piece, seed: u32) -> (Piece, Vec<f32>) {
    let amplitude = [0.05, 1.0, 2e-6, 3e20][seed as usize % 4];
    let r = widely_linear::spiced(seed, piece.reals(), amplitude);
    let exponent = fixed::exponent_of(r.iter().copied());
    (Piece { exponent, ..piece }, r)
}

/// Plausible scales for [`weights`].
fn scales(piece: &Piece, seed: u32) -> Vec<f32> {
    let amplitude = 2f32.powi(piece.exponent - 1);
    let noise = noise(seed, piece.scales(), amplitude);
    noise.iter().map(|s| s.abs() + LEAST_SCALE).collect()
}
