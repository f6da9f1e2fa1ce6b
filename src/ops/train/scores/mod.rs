//! Scores of causal attention, as training keeps them in memory.
//!
//! Products with the scores of some heads are plain matrix products ([`MatmulTrain`](super::MatmulTrain)), which the
//! device's matrix units take.

use crate::ops::*;

pub(super) mod cases;

/// Shape of the scores of one step: `batch` heads, each with a row of scores for every token of its sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    /// Heads of all sequences of the step.
    pub batch: usize,
    /// Tokens of a sequence: row `i` sees columns up to its own, and at most the last `window` of them.
    pub tokens: usize,
    /// Values from row to row, at least `tokens`; those beyond `tokens` are left alone.
    pub stride: usize,
    /// What scores are multiplied by.
    pub scale: f32,
    /// Columns that a row sees at most, at least one: `usize::MAX` for all up to its own.
    pub window: usize,
    /// Scores become `softcap * tanh(score / softcap)`; 0 leaves them as they are. Otherwise `stride` is at least `tokens + 1`:
    /// value `tokens` of a row is where the weights keep the logarithm of their sum, from which gradients recover the scores.
    pub softcap: f32,
}

impl Scores {
    /// Values of the buffer.
    pub fn words(&self) -> usize {
        self.batch * self.tokens * self.stride
    }

    pub(in crate::ops::train) fn shape(&self) -> String {
        let Self {
            batch,
            tokens,
            stride,
            scale,
            window,
            softcap,
        } = self;
        let mut shape = format!("batch={batch},tokens={tokens},stride={stride},scale={scale}");
        if *window < usize::MAX {
            shape += &format!(",window={window}");
        }
        if *softcap > 0.0 {
            shape += &format!(",softcap={softcap}");
        }
        shape
    }

    pub(in crate::ops::train) fn params(&self) -> SoftmaxParams {
        SoftmaxParams {
            tokens: self.tokens as u32,
            stride: self.stride as u32,
            window: u32::try_from(self.window.max(1)).unwrap_or(u32::MAX),
            scale: self.scale,
        }
    }

    pub(in crate::ops::train) fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("SOFTCAP", self.softcap.into())]
    }

    /// What a row sees.
    pub(in crate::ops::train) fn seen(&self, row: usize) -> std::ops::Range<usize> {
        let end = row % self.tokens + 1;
        end.saturating_sub(self.window.max(1))..end
    }

    /// The derivative of a score in its product of query and key, from its weight in the row `y` of weights.
    pub(in crate::ops::train) fn slope(&self, weight: f64, y: &[f32]) -> f64 {
        let (scale, cap) = (f64::from(self.scale), f64::from(self.softcap));
        if cap <= 0.0 || weight <= 0.0 {
            return scale;
        }
        let tanh = (weight.ln() + f64::from(y[self.tokens])) / cap;
        scale * (1.0 - tanh * tanh).max(0.0)
    }

    /// The rows of a buffer of this shape, each with what lies behind its scores.
    pub(in crate::ops::train) fn rows<'a>(
        &self,
        x: &'a mut [f32],
    ) -> impl Iterator<Item = (usize, (&'a mut [f32], &'a mut [f32]))> {
        let (rows, tokens) = (self.batch * self.tokens, self.tokens);
        let rows = x.chunks_exact_mut(self.stride).take(rows);
        rows.map(move |row| row.split_at_mut(tokens)).enumerate()
    }

    pub(in crate::ops::train) fn grid(&self) -> Grid {
        Grid {
            groups: self.tokens as u32,
            batch: self.batch as u32,
        }
    }

    pub(in crate::ops::train) fn cost(&self, passes: f64) -> Cost {
        // everything is written, and what is seen is read
        let all = self.batch as f64 * (self.tokens * self.tokens) as f64;
        let seen: usize = (0..self.tokens).map(|row| self.seen(row).len()).sum();
        let seen = (self.batch * seen) as f64;
        Cost {
            bytes: 4.0 * (all + (passes - 1.0) * seen),
            ops: 6.0 * seen,
        }
    }
}

params! {
    /// Uniform block of [`Softmax`](super::Softmax) and [`SoftmaxBackward`](super::SoftmaxBackward).
    pub struct SoftmaxParams {
        tokens: u32,
        stride: u32,
        window: u32,
        scale: f32,
    }
}
