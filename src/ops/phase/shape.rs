//! A stack of quantized layers that share their input, as the products see it.

use super::CodeLayout;
use crate::codebook::{COLUMNS_PER_WORD, words_for};
use crate::ops::quantize::{Form, MAX_STAGES};
use crate::ops::*;

/// Most stacked layers.
pub const MAX_SEGMENTS: usize = 3;

/// Largest number of complex columns, padding included, whose sums of 16-bit activations cannot overflow 31 bits.
pub const MAX_COLUMNS: usize = 65535;

/// A stack of quantized layers and how one run uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseShape {
    /// Real outputs of each stacked layer, at most [`MAX_SEGMENTS`].
    pub segments: Vec<usize>,
    /// Real inputs.
    pub in_features: usize,
    /// Residual stages, 1 to 4.
    pub stages: usize,
    /// U and W, or W alone.
    pub form: Form,
    /// Complex rows of a segment whose outputs lie together: their real parts, then their imaginary parts. 0: the real
    /// parts of the whole segment come first.
    pub half_run: usize,
    /// One scale block per complex row instead of one per segment.
    pub per_row: bool,
    /// Packed words (16 columns each) that share scales; at least the row's words if they are not grouped.
    pub group_words: usize,
    /// First complex row (of the whole stack) in the bound shard of codes.
    pub first_row: usize,
    /// Complex rows of that shard.
    pub shard_rows: usize,
    /// How the codes lie in the shard.
    pub layout: CodeLayout,
    /// Add to `y` instead of overwriting it.
    pub accumulate: bool,
    /// Tokens.
    pub tokens: usize,
}

impl PhaseShape {
    /// A stack in one shard, with scales of whole tensors, that overwrites `y`.
    pub fn whole(segments: &[usize], tokens: usize, in_features: usize, stages: usize) -> Self {
        Self {
            segments: segments.to_vec(),
            in_features,
            stages,
            form: Form::WidelyLinear,
            half_run: 0,
            per_row: false,
            group_words: usize::MAX,
            first_row: 0,
            shard_rows: segments.iter().map(|s| s.div_ceil(2)).sum(),
            layout: CodeLayout::Rows,
            accumulate: false,
            tokens,
        }
    }

    /// Packed words of one row of one plane.
    pub fn words(&self) -> usize {
        words_for(self.in_features.div_ceil(2))
    }

    /// Planes of codes: U, if there is one, and W in all stages.
    pub fn planes(&self) -> usize {
        self.form.matrices() * self.stages
    }

    /// Groups of columns with their own scales.
    pub fn groups(&self) -> usize {
        self.words().div_ceil(self.group_words)
    }

    /// Complex rows of the stack.
    pub fn complex_rows(&self) -> usize {
        self.segments.iter().map(|s| s.div_ceil(2)).sum()
    }

    /// Real outputs of the stack.
    pub fn outputs(&self) -> usize {
        self.segments.iter().sum()
    }

    /// Words of one scale block: an exponent, then the scales.
    pub fn scale_block_words(&self) -> usize {
        1 + self.groups() * self.planes() * 2
    }

    /// Scale blocks of the stack.
    pub fn scale_blocks(&self) -> usize {
        if self.per_row {
            self.complex_rows()
        } else {
            self.segments.len()
        }
    }

    /// Scale block of complex row `row` of the stack, and the indices of its real and imaginary half in a token of `y`
    /// (an odd layer's last imaginary half does not exist).
    pub fn outputs_of(&self, row: usize) -> (usize, usize, Option<usize>) {
        let (mut start, mut base) = (0, 0);
        for (s, &outs) in self.segments.iter().enumerate() {
            let half = outs.div_ceil(2);
            if row < start + half {
                let local = row - start;
                let block = if self.per_row { row } else { s };
                if let Some(run) = local.checked_div(self.half_run) {
                    let re = base + local + run * self.half_run;
                    return (block, re, Some(re + self.half_run));
                }
                let im = (half + local < outs).then_some(base + half + local);
                return (block, base + local, im);
            }
            start += half;
            base += outs;
        }
        unreachable!("row {row} beyond the stack")
    }

    /// The constant of kernels whose outputs lie in runs, which others do not have: where a row goes is asked often.
    pub(super) fn runs(&self) -> Option<(&'static str, f64)> {
        (self.half_run > 0).then_some(("RUNS", 1.0))
    }

    /// Whether a plane acts on the conjugate of the input.
    pub(super) fn conjugates(&self, plane: usize) -> bool {
        self.form.conjugates(plane, self.stages)
    }

    /// Words of the codes, of the activations and of their scales, of the scale blocks, and of the result.
    pub(super) fn lengths(&self, activations: [usize; 2]) -> Vec<usize> {
        let [q, absmax] = activations;
        vec![
            self.code_words(),
            q,
            absmax,
            self.scale_blocks() * self.scale_block_words(),
            self.tokens * self.outputs(),
        ]
    }

    pub(super) fn cost(&self, activation_bytes: f64) -> Cost {
        let codes = (self.shard_rows * self.planes() * self.words()) as f64;
        let y = (self.tokens * self.shard_rows * 2 * 4) as f64;
        Cost {
            bytes: 4.0 * codes + activation_bytes + y,
            // one add for the real and one for the imaginary part of every code
            ops: codes * COLUMNS_PER_WORD as f64 * 2.0 * self.tokens as f64,
        }
    }

    /// As [`Op::shape`] prints it.
    pub(super) fn shape(&self) -> String {
        let outs: Vec<_> = self.segments.iter().map(usize::to_string).collect();
        let mut shape = format!(
            "m={},n={},k={}",
            outs.join("+"),
            self.tokens,
            self.in_features
        );
        shape += &format!(",stages={}", self.stages);
        if self.form == Form::Conjugate {
            shape += ",form=conjugate";
        }
        if self.half_run > 0 {
            shape += &format!(",half_run={}", self.half_run);
        }
        shape += match self.per_row {
            true => ",scales=row",
            false => ",scales=tensor",
        };
        if self.groups() > 1 {
            shape += &format!(",group={}", self.group_words * COLUMNS_PER_WORD);
        }
        if self.shard_rows != self.complex_rows() {
            let end = self.first_row + self.shard_rows;
            shape += &format!(",shard={}..{end}", self.first_row);
        }
        match self.layout {
            CodeLayout::Rows => {}
            CodeLayout::Words { lanes } => shape += &format!(",lanes={lanes}"),
            CodeLayout::Bytes => shape += ",layout=bytes",
        }
        if self.accumulate {
            shape += ",accumulate=1";
        }
        shape
    }

    pub(super) fn params(&self) -> PhaseParams {
        debug_assert!(self.segments.len() <= MAX_SEGMENTS, "{}", self.shape());
        debug_assert!((1..=MAX_STAGES).contains(&self.stages), "{}", self.shape());
        debug_assert!(self.first_row + self.shard_rows <= self.complex_rows());
        debug_assert!(self.layout == CodeLayout::Rows, "{}", self.shape());
        debug_assert!(
            self.half_run == 0
                || self
                    .segments
                    .iter()
                    .all(|s| s.is_multiple_of(2 * self.half_run)),
            "{}",
            self.shape()
        );
        let outs = |i: usize| self.segments.get(i).map_or(0, |&s| s as u32);
        PhaseParams {
            tokens: self.tokens as u32,
            in_features: self.in_features as u32,
            words: self.words() as u32,
            group_words: self.group_words.min(self.words()) as u32,
            groups: self.groups() as u32,
            per_row: self.per_row.into(),
            first_row: self.first_row as u32,
            shard_rows: self.shard_rows as u32,
            accumulate: self.accumulate.into(),
            outputs: self.outputs() as u32,
            outs0: outs(0),
            outs1: outs(1),
            outs2: outs(2),
            quarter: (self.in_features / 8) as u32,
            eps_n: 0.0,
            root_n: 0.0,
            normed: 0,
            gated: 0,
            slots: 0,
            n_absmax_partials: 0,
            half_run: self.half_run as u32,
        }
    }
}

params! {
    /// Uniform block of the phase products.
    pub struct PhaseParams {
        pub(super) tokens: u32,
        pub(super) in_features: u32,
        pub(super) words: u32,
        pub(super) group_words: u32,
        pub(super) groups: u32,
        pub(super) per_row: u32,
        pub(super) first_row: u32,
        pub(super) shard_rows: u32,
        pub(super) accumulate: u32,
        pub(super) outputs: u32,
        pub(super) outs0: u32,
        pub(super) outs1: u32,
        pub(super) outs2: u32,
        pub(super) quarter: u32,
        pub(super) eps_n: f32,
        pub(super) root_n: f32,
        pub(super) normed: u32,
        pub(super) gated: u32,
        pub(super) slots: u32,
        pub(super) n_absmax_partials: u32,
        pub(super) half_run: u32,
    }
}
