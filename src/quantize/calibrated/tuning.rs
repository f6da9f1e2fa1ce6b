//! How a calibrated model is trained: steps, rates, the teacher's share.

use crate::error::{Error, Result};
use crate::train::step::{Masters, Moments};
use serde::{Deserialize, Serialize};

/// How blocks are trained by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockTuning {
    /// Steps of each block, and of the head.
    pub steps: u64,
    /// Sequences of such a step.
    pub batch: usize,
}

impl Default for BlockTuning {
    fn default() -> Self {
        Self {
            steps: 300,
            batch: 32,
        }
    }
}

/// How a model is tuned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// Steps.
    pub steps: u64,
    /// Sequences of a step.
    pub batch: usize,
    /// Largest learning rate: of weights, norms, the embedding, and logarithms of scales.
    pub lr: f64,
    /// Share of the divergence from the full-precision model in the loss, the rest being the cross entropy of the text.
    pub distill: f64,
    /// What AdamW's moments are held in; none: the most bits that the device has room for.
    #[serde(default)]
    pub moments: Option<Moments>,
    /// What the masters of quantized layers are held in.
    #[serde(default)]
    pub masters: Masters,
    /// Share of the first stage alone in the loss, the rest being that of all stages; 0 trains all stages only.
    #[serde(default, skip_serializing_if = "is_none")]
    pub nested: f64,
    /// Blocks are trained by themselves, one after the other, and then scales and norms alone are trained for `steps` steps,
    /// at twice the learning rate for scales; none: everything is trained together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<BlockTuning>,
}

fn is_none(share: &f64) -> bool {
    *share == 0.0
}

impl Tuning {
    /// Sequences of a step.
    pub const BATCH: usize = 64;
    /// Learning rate.
    pub const LR: f64 = 1e-3;
    /// Share of the teacher.
    pub const DISTILL: f64 = 0.5;

    /// So many steps as they usually are.
    pub fn new(steps: u64) -> Self {
        Self {
            steps,
            batch: Self::BATCH,
            lr: Self::LR,
            distill: Self::DISTILL,
            moments: None,
            masters: Masters::F32,
            nested: 0.0,
            blocks: None,
        }
    }

    /// Steps of scales and norms, after blocks were trained by themselves.
    pub const LAST_STEPS: u64 = 100;

    /// Block by block.
    pub fn by_blocks() -> Self {
        Self {
            blocks: Some(BlockTuning::default()),
            ..Self::new(Self::LAST_STEPS)
        }
    }

    /// Tokens of all steps, in sequences of `length`; block by block the same tokens are used again and again.
    pub fn tokens(&self, length: usize) -> usize {
        if self.blocks.is_some() {
            return BLOCK_TOKENS;
        }
        let sequences = (self.steps as usize).saturating_mul(self.batch);
        sequences.saturating_mul(length)
    }

    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub(super) fn check(&self) -> Result<()> {
        let rates = self.lr.is_finite() && self.lr > 0.0 && (0.0..=1.0).contains(&self.distill);
        let blocks = self.blocks.is_none_or(|b| b.steps > 0 && b.batch > 0);
        let plain = self.moments.is_none() && self.masters == Masters::F32 && self.nested == 0.0;
        if self.blocks.is_some() && !plain {
            return Err(Error::usage(
                "moments, masters or nested stages of a model that is trained block by block",
                "leave them out, or train the whole model",
            ));
        }
        if self.steps == 0 || self.batch == 0 || !rates || !blocks {
            return Err(Error::usage(
                format!(
                    "tuning of {} steps of {} sequences{} with the learning rate {} and the teacher's share {}",
                    self.steps,
                    self.batch,
                    self.blocks.map_or(String::new(), |b| format!(
                        " after {} of {} of every block",
                        b.steps, b.batch
                    )),
                    self.lr,
                    self.distill
                ),
                "all are above 0, the last is from 0 to 1",
            ));
        }
        Ok(())
    }
}

/// Tokens that blocks are trained with.
const BLOCK_TOKENS: usize = 262_144;

/// Learning rate of scales, in those of norms, when they are trained alone.
pub(super) const SCALE_RATE: f64 = 2.0;
