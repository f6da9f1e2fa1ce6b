//! How linear layers are represented, by name.

use crate::ops::quantize::Activations;
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

/// How activations enter quantized layers on the way forward; gradients pass as if they were not rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum RoundedTo {
    /// As floats, as Fairy2i is trained
    #[default]
    #[serde(rename = "float")]
    Float,
    /// Rounded to 16 bits
    #[cfg_attr(feature = "cli", value(name = "16"))]
    #[serde(rename = "16")]
    Int16,
    /// Rounded to 8 bits, as iFairy is trained
    #[cfg_attr(feature = "cli", value(name = "8"))]
    #[serde(rename = "8")]
    Int8,
}

impl RoundedTo {
    /// Whether it is what runs have that say nothing.
    pub(super) fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl From<RoundedTo> for Activations {
    fn from(rounded: RoundedTo) -> Self {
        match rounded {
            RoundedTo::Float => Self::Float,
            RoundedTo::Int16 => Self::Int16,
            RoundedTo::Int8 => Self::Int8,
        }
    }
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
