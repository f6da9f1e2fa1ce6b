//! How much calibrating may cost.

use super::room::options;
use super::tuning::Tuning;
use super::{CalibrationText, TextSource};
use crate::backend::Device;
use crate::model::{Config, Recipe};

/// How much calibrating may cost; seconds are those of a model of 135 million parameters on an NVIDIA H200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Effort {
    /// Error feedback: 20 seconds, memory for a block of the model
    Fast,
    /// 600 steps of training on 16 sequences: three minutes, memory for training
    Good,
    /// 3000 such steps: a quarter of an hour
    Best,
}

impl Effort {
    /// The training, if there is one.
    pub fn tuning(self) -> Option<Tuning> {
        match self {
            Self::Fast => None,
            Self::Good => Some(small_batches(600)),
            Self::Best => Some(small_batches(3000)),
        }
    }

    /// [`Effort::Good`] on a GPU that has room to train the model, with files of a few million letters; elsewhere, and
    /// with texts that training would soon know by heart, [`Effort::Fast`].
    pub fn usual(device: &Device, config: &Config, recipe: Recipe, sources: &[TextSource]) -> Self {
        let bytes = |source: &TextSource| {
            let file = source.path().and_then(|path| path.metadata().ok());
            file.map_or(0, |file| file.len())
        };
        let long = sources.iter().map(bytes).sum::<u64>() >= LONG_TEXT;
        let length = config.context.min(CalibrationText::LENGTH);
        let fits = || options(device, config, recipe, &Tuning::new(1), length).is_ok();
        match device.is_hardware() && long && fits() {
            true => Self::Good,
            false => Self::Fast,
        }
    }
}

/// Bytes of files, compressed or not, that are worth some hundred steps.
const LONG_TEXT: u64 = 4_000_000;

/// Many steps of few sequences: of the same tokens they made better models than few steps of many.
fn small_batches(steps: u64) -> Tuning {
    Tuning {
        batch: 16,
        lr: 2e-3,
        ..Tuning::new(steps)
    }
}
