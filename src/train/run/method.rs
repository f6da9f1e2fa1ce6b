//! How linear layers are represented, by name.

use serde::{Deserialize, Serialize};

/// Representations by the names the papers' code gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum MethodName {
    /// Widely-linear {1, i, -1, -i}, `stages` bits a weight
    Fairy2i,
    /// Real binary baseline, 1 bit
    Bitnet,
    /// Real ternary baseline
    #[cfg_attr(feature = "cli", value(name = "bitnet_1_58", alias = "bitnet-1-58"))]
    #[serde(rename = "bitnet_1_58")]
    Bitnet158,
    /// As stored
    Full,
}

/// Where the scales of fairy2i come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum ScaleRule {
    /// Means of what they stand for, new in every step, as in the papers
    #[default]
    Means,
    /// Parameters that are trained with the weights: for short trainings
    Learned,
}
