//! In how many bits masters and moments stay between steps.

use serde::{Deserialize, Serialize};

/// In how many bits AdamW's two moments of a matrix stay between steps. Those of norms and scales, which are few, are in f32
/// always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Moments {
    /// f32
    #[default]
    #[serde(rename = "32")]
    #[cfg_attr(feature = "cli", value(name = "32"))]
    F32,
    /// bf16, rounded at random so that the mean is right
    #[serde(rename = "16")]
    #[cfg_attr(feature = "cli", value(name = "16"))]
    Bf16,
    /// Small floats below the largest of each 256, rounded at random
    #[serde(rename = "8")]
    #[cfg_attr(feature = "cli", value(name = "8"))]
    Block8,
}

impl Moments {
    /// All of them, from the most bits to the fewest.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Block8];

    /// Bits of a value, the word of each block aside.
    pub const fn bits(self) -> usize {
        match self {
            Self::F32 => 32,
            Self::Bf16 => 16,
            Self::Block8 => 8,
        }
    }
}

/// In what type the masters of quantized layers stay between steps. All other weights are in f32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Masters {
    /// f32
    #[default]
    F32,
    /// bf16, rounded at random so that the mean is right
    Bf16,
}
