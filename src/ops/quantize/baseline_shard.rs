//! Rows of a weight that one run quantizes to two or three values: the baselines of arXiv 2512.02901.
//!
//! Their sums are exact as those of the phase quantizer, so that scales and codes have the same bits everywhere.
//! Subnormal weights count as 0; R must be finite.

#[allow(unused_imports)] // links of the documentation
use crate::fixed;
use crate::ops::*;

/// Added to the ternary scale before weights are divided by it.
pub const TERNARY_EPSILON: f32 = 1e-5;

/// Rows of a real weight as one run sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaselineShard {
    /// Ternary (else binary).
    pub ternary: bool,
    /// Rows of the tensor.
    pub total_rows: usize,
    /// First row of the shard.
    pub first_row: usize,
    /// Rows of the shard.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// All magnitudes are below 2^exponent ([`fixed::exponent_of`]).
    pub exponent: i32,
}

impl BaselineShard {
    /// A whole `[rows, columns]` weight.
    pub fn whole(ternary: bool, rows: usize, columns: usize, exponent: i32) -> Self {
        Self {
            ternary,
            total_rows: rows,
            first_row: 0,
            rows,
            columns,
            exponent,
        }
    }

    /// Weights in one word of codes.
    pub fn per_word(&self) -> usize {
        if self.ternary { 16 } else { 32 }
    }

    /// Words of codes in one row.
    pub fn words(&self) -> usize {
        self.columns.div_ceil(self.per_word())
    }

    /// Weights of the shard.
    pub fn reals(&self) -> usize {
        self.rows * self.columns
    }

    /// As [`Op::shape`] prints it.
    pub(super) fn shape(&self) -> String {
        let mut shape = format!("m={},k={}", self.rows, self.columns);
        if self.total_rows != self.rows {
            let end = self.first_row + self.rows;
            shape += &format!(",shard={}..{end}/{}", self.first_row, self.total_rows);
        }
        let method = if self.ternary { "ternary" } else { "binary" };
        shape + &format!(",method={method},exponent={}", self.exponent)
    }

    /// One workgroup a row.
    pub(super) fn grid(&self) -> Grid {
        Grid {
            groups: self.rows as u32,
            batch: 1,
        }
    }

    pub(super) fn params(&self) -> BaselineShardParams {
        BaselineShardParams {
            first_row: self.first_row as u32,
            rows: self.rows as u32,
            columns: self.columns as u32,
            exponent: self.exponent,
            ternary: u32::from(self.ternary),
        }
    }

    /// Code and value of a weight, given (scale, threshold).
    pub(super) fn code(&self, x: f32, [scale, threshold]: [f32; 2]) -> (u32, f32) {
        match (self.ternary, x > threshold) {
            (false, true) => (1, scale),
            (false, false) => (0, -scale),
            (true, _) if x.abs() <= threshold => (0, 0.0),
            (true, _) if x > 0.0 => (1, scale),
            (true, _) => (3, -scale),
        }
    }
}

params! {
    /// Uniform block of the ops on [`BaselineShard`].
    pub struct BaselineShardParams {
        first_row: u32,
        rows: u32,
        columns: u32,
        exponent: i32,
        ternary: u32,
    }
}
