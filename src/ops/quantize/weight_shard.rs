//! Rows of a weight that one run quantizes, and what the references of its ops share.

use super::{Form, Granularity, flush, merge, split};
use crate::codebook;
#[allow(unused_imports)] // links of the documentation
use crate::fixed;

/// Least scale of the Fairy2i quantizer ([`Form::least_scale`] has iFairy's, too).
pub const LEAST_SCALE: f32 = 1e-6;

/// Most residual stages.
pub const MAX_STAGES: usize = 4;

/// Rows of a weight as one run sees them, and how its scales are shared.
///
/// Its buffer holds `rows` real rows of the upper half of R, then the `lower_rows` real rows that lie
/// ceil(out / 2) below them: `rows`, or one less if the last one would be the padding of an odd `out`.
/// R as a whole is a shard too.
///
/// In the conjugate form the buffer is the weight as it is stored: `rows` rows of Re W, then as many of Im W, and the columns
/// are complex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightShard {
    /// Which matrices the weight has.
    pub form: Form,
    /// Complex rows that share the buffers of sums and scales.
    pub total_rows: usize,
    /// The shard's first row among them.
    pub first_row: usize,
    /// Complex rows of the shard.
    pub rows: usize,
    /// Lower real rows of the shard, or rows of Im W.
    pub lower_rows: usize,
    /// Real columns of R, or complex columns of W: those of the buffer.
    pub columns: usize,
    /// Which weights share scales.
    pub granularity: Granularity,
    /// Residual stages.
    pub stages: usize,
    /// All magnitudes are below 2^exponent ([`fixed::exponent_of`]).
    pub exponent: i32,
}

impl WeightShard {
    /// A whole weight of the widely-linear form: `[out_features, columns]`.
    pub fn whole(
        out_features: usize,
        columns: usize,
        granularity: Granularity,
        stages: usize,
        exponent: i32,
    ) -> Self {
        let rows = out_features.div_ceil(2);
        Self {
            form: Form::WidelyLinear,
            total_rows: rows,
            first_row: 0,
            rows,
            lower_rows: out_features - rows,
            columns,
            granularity,
            stages,
            exponent,
        }
    }

    /// Complex columns.
    pub fn complex_columns(&self) -> usize {
        match self.form {
            Form::WidelyLinear => self.columns.div_ceil(2),
            Form::Conjugate => self.columns,
        }
    }

    /// Planes of codes: the stages of U, if there is one, then those of W.
    pub fn planes(&self) -> usize {
        self.form.matrices() * self.stages
    }

    /// Complex columns that share scales.
    pub fn group(&self) -> usize {
        match self.granularity {
            Granularity::Group(g) | Granularity::Tile { columns: g, .. } => {
                g.min(self.complex_columns()).max(1)
            }
            _ => self.complex_columns().max(1),
        }
    }

    /// Groups of columns in a row.
    pub fn groups(&self) -> usize {
        self.complex_columns().div_ceil(self.group())
    }

    /// Neighbouring rows that share scales: all of them, one, or those of a tile.
    pub fn block_rows(&self) -> usize {
        let rows = match self.granularity {
            Granularity::Tensor => self.total_rows,
            Granularity::Row | Granularity::Group(_) => 1,
            Granularity::Tile { rows, .. } => rows.min(self.total_rows),
        };
        rows.max(1)
    }

    /// Blocks of rows that share scales; the last one may have fewer rows.
    pub fn scale_blocks(&self) -> usize {
        self.total_rows.div_ceil(self.block_rows())
    }

    /// f32 values in the shard's buffer.
    pub fn reals(&self) -> usize {
        (self.rows + self.lower_rows) * self.columns
    }

    /// Words of the sums of all rows: (low, high, count) by row, group, matrix, axis.
    pub fn sums(&self) -> usize {
        self.total_rows * self.groups() * self.form.matrices() * 6
    }

    /// Scales of all rows, by scale block, group, matrix, stage, axis.
    pub fn scales(&self) -> usize {
        self.scale_blocks() * self.groups() * 2 * self.planes()
    }

    /// Words of the codes of the shard.
    pub fn codes(&self) -> usize {
        self.rows * self.planes() * codebook::words_for(self.complex_columns())
    }

    /// Index of the first scale of a row's group: its stages of U follow, if there is one, then those of W.
    pub(in crate::ops) fn scale_index(&self, row: usize, column: usize) -> usize {
        let block = (self.first_row + row) / self.block_rows();
        (block * self.groups() + column / self.group()) * 2 * self.planes()
    }

    /// Indices in the buffer of the four real weights behind complex ones, or of Re W and Im W; `None` is padding.
    pub(in crate::ops) fn indices(&self, row: usize, column: usize) -> [Option<usize>; 4] {
        let upper = row * self.columns + column;
        let lower = upper + self.rows * self.columns;
        if self.form == Form::Conjugate {
            return [Some(upper), Some(lower), None, None];
        }
        let half = self.complex_columns();
        let right = column + half < self.columns;
        let below = row < self.lower_rows;
        [
            Some(upper),
            right.then_some(upper + half),
            below.then_some(lower),
            (right && below).then_some(lower + half),
        ]
    }

    /// The complex weights of each matrix, as (re, im).
    pub(in crate::ops) fn complex(
        &self,
        r: &[f32],
        row: usize,
        column: usize,
    ) -> impl Iterator<Item = [f32; 2]> {
        let blocks = self
            .indices(row, column)
            .map(|index| index.map_or(0.0, |i| r[i]));
        let [a_re, a_im, b_re, b_im] = match self.form {
            Form::WidelyLinear => split(blocks),
            Form::Conjugate => blocks.map(flush),
        };
        let matrices = [[a_re, a_im], [b_re, b_im]];
        matrices.into_iter().take(self.form.matrices())
    }

    /// What lies at [`WeightShard::indices`], from the complex weights of the matrices.
    pub(in crate::ops) fn stored(&self, complex: [f32; 4]) -> [f32; 4] {
        match self.form {
            Form::WidelyLinear => merge(complex),
            Form::Conjugate => complex.map(flush),
        }
    }

    /// As [`Op::shape`] prints it.
    pub(in crate::ops) fn shape(&self) -> String {
        let real_rows = self.rows + self.lower_rows;
        let mut shape = format!("m={real_rows},k={}", self.columns);
        if self.total_rows != self.rows {
            let end = self.first_row + self.rows;
            shape += &format!(",shard={}..{end}/{}", self.first_row, self.total_rows);
        }
        if self.form == Form::Conjugate {
            shape += ",form=conjugate";
        }
        let scales = self.granularity.setting();
        shape + &format!(",scales={scales},stages={}", self.stages)
    }

    pub(in crate::ops) fn params(&self) -> WeightShardParams {
        debug_assert!((1..=MAX_STAGES).contains(&self.stages), "{}", self.shape());
        debug_assert!(self.lower_rows <= self.rows, "{}", self.shape());
        let odd = usize::from(self.form == Form::WidelyLinear);
        debug_assert!(self.rows <= self.lower_rows + odd, "{}", self.shape());
        debug_assert!(
            self.first_row + self.rows <= self.total_rows,
            "{}",
            self.shape()
        );
        debug_assert!(
            self.groups() <= 1 || self.group().is_multiple_of(codebook::COLUMNS_PER_WORD),
            "{}: a word of codes has columns of two groups",
            self.shape()
        );
        WeightShardParams {
            first_row: self.first_row as u32,
            rows: self.rows as u32,
            lower_rows: self.lower_rows as u32,
            columns: self.columns as u32,
            half: self.complex_columns() as u32,
            group: self.group() as u32,
            groups: self.groups() as u32,
            block_rows: self.block_rows() as u32,
            stages: self.stages as u32,
            exponent: self.exponent,
        }
    }
}

/// The WGSL that reads four columns of a shard at once.
pub(super) fn columns_prelude(shard: &WeightShard) -> &'static str {
    let reals = 2 * shard.complex_columns();
    let even = shard.form == Form::Conjugate || shard.columns == reals;
    if even && reals.is_multiple_of(8) {
        include_str!("../../../shaders/lib/columns_four.wgsl")
    } else {
        include_str!("../../../shaders/lib/columns_any.wgsl")
    }
}

params! {
    /// Uniform block of the ops on a [`WeightShard`].
    pub struct WeightShardParams {
        first_row: u32,
        rows: u32,
        lower_rows: u32,
        columns: u32,
        half: u32,
        group: u32,
        groups: u32,
        block_rows: u32,
        stages: u32,
        exponent: i32,
    }
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
