//! The loss scale of a trainer, as states have it.

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
