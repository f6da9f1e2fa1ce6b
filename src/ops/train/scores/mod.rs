//! Scores of causal attention, as training keeps them in memory.
//!
//! Products with the scores of some heads are plain matrix products ([`MatmulTrain`](super::MatmulTrain)), which the
//! device's matrix units take.

use crate::ops::*;

pub(super) mod cases;

/// Shape of the scores of one step: `batch` heads, each with a row of scores for every token of its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scores {
    /// Heads of all sequences of the step.
    pub batch: usize,
    /// Tokens of a sequence: row `i` sees columns `0..=i`.
    pub tokens: usize,
    /// Values from row to row, at least `tokens`; those beyond `tokens` are left alone.
    pub stride: usize,
    /// Values per head, complex ones counted once: scores are divided by its root.
    pub head_dim: usize,
}

impl Scores {
    /// Values of the buffer.
    pub fn words(&self) -> usize {
        self.batch * self.tokens * self.stride
    }

    pub(in crate::ops::train) fn scale(&self) -> f64 {
        (self.head_dim as f64).powf(-0.5)
    }

    pub(in crate::ops::train) fn shape(&self) -> String {
        let Self {
            batch,
            tokens,
            stride,
            head_dim,
        } = self;
        format!("batch={batch},tokens={tokens},stride={stride},head_dim={head_dim}")
    }

    pub(in crate::ops::train) fn params(&self) -> SoftmaxParams {
        SoftmaxParams {
            tokens: self.tokens as u32,
            stride: self.stride as u32,
            scale: self.scale() as f32,
        }
    }

    pub(in crate::ops::train) fn grid(&self) -> Grid {
        Grid {
            groups: self.tokens as u32,
            batch: self.batch as u32,
        }
    }

    pub(in crate::ops::train) fn cost(&self, passes: f64) -> Cost {
        let n = (self.batch * self.tokens * self.tokens) as f64;
        Cost {
            bytes: 4.0 * passes * n,
            ops: 3.0 * n,
        }
    }
}

params! {
    /// Uniform block of [`Softmax`](super::Softmax) and [`SoftmaxBackward`](super::SoftmaxBackward).
    pub struct SoftmaxParams {
        tokens: u32,
        stride: u32,
        scale: f32,
    }
}
