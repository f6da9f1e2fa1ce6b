//! What `calibration.json` says.

use super::tuning::Tuning;
use super::{Allocation, CalibrationText, Sequences, TextSource};
use crate::backend::{Backend, Device};
use crate::error::{Error, Result};
use crate::model::{Packed, Recipe};
use serde::{Deserialize, Serialize};

/// A calibrated layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibratedLayer {
    /// Name without `.weight`.
    pub name: String,
    /// Outputs and inputs.
    pub shape: [usize; 2],
    /// `|Rq - R| / |R|`; none where training has moved R.
    pub weight_error: Option<f64>,
    /// `|E X| / |R' X|` over the calibration inputs, as the papers quantize the layer.
    pub output_error_before: Option<f64>,
    /// The same of the result.
    pub output_error: Option<f64>,
    /// Bits of a weight, scales and padding included.
    pub bits_per_weight: f64,
}

/// A block, or the head, that was trained by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibratedBlock {
    /// Such as `model.layers.0`.
    pub name: String,
    /// Losses of the first step and of the last: of a block the mean square of the difference from the full-precision
    /// block's output over the variance of that, of the head the divergence from the full-precision head.
    pub losses: [f64; 2],
}

/// What `calibration.json` says: how a packed folder was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibrationReport {
    /// The method, in words.
    pub method: String,
    /// Version of this program.
    pub version: String,
    /// Device that it ran on.
    pub device: String,
    /// Where the text came from: names of files, or `self`.
    pub sources: Vec<String>,
    /// SHA-256 of the ids, in hexadecimal digits.
    pub text_sha256: String,
    /// Tokens of the text.
    pub tokens: usize,
    /// Tokens of a sequence.
    pub length: usize,
    /// Seed of what was chosen of the text.
    pub seed: u64,
    /// The training, if that is how it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuning: Option<TuningReport>,
    /// How its stages were allocated, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation: Option<Allocation>,
    /// Blocks that were trained by themselves, in forward order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<CalibratedBlock>,
    /// Perplexity of sequences of the same text that were held out, in full precision and calibrated; none where there
    /// were none.
    pub perplexity: Option<[f64; 2]>,
    /// The same perplexity of the first stage alone, where it was made to be read by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_stage_perplexity: Option<f64>,
    /// Layers in forward order.
    pub layers: Vec<CalibratedLayer>,
}

/// A short training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TuningReport {
    /// How it was made.
    #[serde(flatten)]
    pub how: Tuning,
    /// Sequences that were computed at once.
    #[serde(default)]
    pub micro_batch: usize,
    /// Losses of the first step and of the last: cross entropy and divergence from the teacher, mixed as `how` says.
    pub losses: [f64; 2],
}

impl CalibrationReport {
    /// What is known before anything is calibrated.
    pub(super) fn of(
        text: &CalibrationText,
        sequences: &Sequences,
        (method, recipe): (&str, Recipe),
        device: &Device,
    ) -> Self {
        Self {
            method: format!("{method}, {recipe}"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: device.name(),
            sources: text.sources.iter().map(TextSource::name).collect(),
            text_sha256: sequences.sha256(),
            tokens: sequences.tokens(),
            length: sequences.length(),
            seed: text.seed,
            tuning: None,
            allocation: None,
            blocks: Vec::new(),
            perplexity: None,
            first_stage_perplexity: None,
            layers: Vec::new(),
        }
    }

    /// As the folder has it.
    pub(super) fn json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).map_err(bug)?;
        Ok(text + "\n")
    }
}

/// What has no words for itself.
pub(super) fn bug(error: serde_json::Error) -> Error {
    Error::usage(error.to_string(), "please report this as a bug")
}

impl CalibratedLayer {
    /// What is known of the codes alone.
    pub(super) fn of(name: &str, packed: &Packed) -> Self {
        Self {
            name: name.to_owned(),
            shape: [packed.out_features, packed.in_features],
            weight_error: None,
            output_error_before: None,
            output_error: None,
            bits_per_weight: packed.bits_per_weight(),
        }
    }
}
