//! The loss scale of a trainer, as states have it.

use crate::model::train::Progress;
use serde::{Deserialize, Serialize};

/// How the loss is scaled; the trainer's numbers. By default nothing is scaled: before the first step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossScale {
    /// Base-2 logarithm of the scale.
    pub exponent: i32,
    /// Steps since it was changed.
    pub since_change: u32,
    /// Whether it adapts.
    pub adapts: bool,
}

impl LossScale {
    /// Where a trainer stands that has made so many updates.
    pub fn progress(self, updates: u64) -> Progress {
        Progress {
            updates,
            scale_exponent: self.exponent,
            since_change: self.since_change,
            adapts: self.adapts,
        }
    }
}

impl From<Progress> for LossScale {
    fn from(progress: Progress) -> Self {
        Self {
            exponent: progress.scale_exponent,
            since_change: progress.since_change,
            adapts: progress.adapts,
        }
    }
}
