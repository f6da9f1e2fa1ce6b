//! What a model is: shapes and constants, independent of any file format.
//!
//! What its tensors are follows from its family: see [`blueprint`](super::blueprint).

use super::Form;
use super::variant::Variant;
use crate::error::{Error, Result};

/// Hyper-parameters of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Hugging Face's name of what it is: `LlamaForCausalLM`; it decides the [blueprint](Config::blueprint).
    pub architecture: String,
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width inside the MLP.
    pub intermediate: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Values per head; even.
    pub head_dim: usize,
    /// Longest context the model was made for.
    pub context: usize,
    /// Rotary embedding.
    pub rope: Rope,
    /// Epsilon inside the RMS norms.
    pub norm_eps: f32,
    /// Whether the head is the embedding matrix.
    pub tied: bool,
    /// Begin-of-sequence token.
    pub bos: Option<u32>,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
    /// What it does otherwise than LLaMA.
    pub variant: Variant,
}

/// Rotary embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// Stretching of the positions.
    pub scaling: RopeScaling,
}

/// `rope_scaling` of Hugging Face configurations.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Plain.
    None,
    /// Positions divided by `factor`.
    Linear {
        /// How many times longer the context becomes.
        factor: f64,
    },
    /// A base that grows with the sequence, once that is longer than the context of the training.
    Dynamic {
        /// How fast it grows.
        factor: f64,
        /// Tokens of that context.
        original_context: f64,
    },
    /// Interpolation by wavelength (arXiv 2309.00071).
    Yarn(Yarn),
    /// A factor for each frequency (arXiv 2402.13753).
    LongRope(Box<LongRope>),
    /// LLaMA 3's interpolation by wavelength.
    Llama3 {
        /// Divides the frequencies of long wavelengths.
        factor: f64,
        /// Wavelengths longer than `original_context` over this are divided by `factor`.
        low_freq_factor: f64,
        /// Wavelengths shorter than `original_context` over this stay; those between are interpolated.
        high_freq_factor: f64,
        /// Tokens of the context that the model was first trained with.
        original_context: f64,
    },
}

/// Interpolation by wavelength (arXiv 2309.00071): waves that turn more than `beta_fast` times in the original context keep
/// their frequency, those that turn less than `beta_slow` times are stretched by `factor`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yarn {
    /// How many times longer the context becomes.
    pub factor: f64,
    /// Tokens of the context that the model was first trained with.
    pub original_context: f64,
    /// Turns above which a frequency stays.
    pub beta_fast: f64,
    /// Turns below which a frequency is divided by the factor.
    pub beta_slow: f64,
    /// What cosines and sines are multiplied by.
    pub attention_factor: f64,
    /// Whether the borders between pairs are rounded outwards to whole pairs.
    pub truncate: bool,
}

/// A factor for each frequency (arXiv 2402.13753).
#[derive(Debug, Clone, PartialEq)]
pub struct LongRope {
    /// What the wavelength of each pair is multiplied by in sequences of up to the original context.
    pub short_factor: Vec<f64>,
    /// And in longer ones.
    pub long_factor: Vec<f64>,
    /// Tokens of the context that the model was first trained with.
    pub original_context: usize,
    /// What cosines and sines are multiplied by.
    pub attention_factor: f64,
}

/// Refuses a model of complex layers for `what`, which works on real ones alone.
///
/// # Errors
/// [`Error::Usage`].
pub fn refuse_complex(config: &Config, what: &str) -> Result<()> {
    match config.blueprint().complex {
        false => Ok(()),
        true => Err(Error::usage(
            format!(
                "{what} of a {}, which has complex layers",
                config.architecture
            ),
            "train it instead, or take a model of real layers",
        )),
    }
}

/// Refuses a model with mixtures of experts for `what`, which knows MLPs alone.
///
/// # Errors
/// [`Error::Usage`].
pub fn refuse_experts(config: &Config, what: &str) -> Result<()> {
    match config.variant.experts.is_none() {
        true => Ok(()),
        false => Err(Error::usage(
            format!(
                "{what} of a {}, which has mixtures of experts",
                config.architecture
            ),
            "take a dense model of the family; this one can be quantized, run, judged and exported",
        )),
    }
}

/// Name and size of a linear layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinearShape {
    /// The tensor's name without `.weight`: `model.layers.0.self_attn.q_proj`, `lm_head`.
    pub prefix: String,
    /// Which matrices it has where it is quantized, and how its weight is stored.
    pub form: Form,
    /// Real outputs.
    pub out_features: usize,
    /// Real inputs.
    pub in_features: usize,
    /// Whether it has a bias.
    pub biased: bool,
}

impl LinearShape {
    /// Columns of the weight as it is stored; it has a row for each real output.
    pub fn columns(&self) -> usize {
        self.form.columns(self.in_features)
    }

    /// Name of its bias, where it has one.
    pub fn bias(&self) -> String {
        format!("{}.bias", self.prefix)
    }
}

impl Config {
    /// Prefix of the output head.
    pub const HEAD: &str = "lm_head";
    /// Name of the weight of a dense head that is not tied.
    pub const HEAD_WEIGHT: &str = "lm_head.weight";

    /// Name of the dense weight of the linear layer `prefix`: the embedding, for a tied head.
    pub fn dense_name(&self, prefix: &str) -> String {
        if self.tied && prefix == Self::HEAD {
            return self.embed_name();
        }
        format!("{prefix}.weight")
    }

    /// Name of the embedding matrix.
    pub fn embed_name(&self) -> String {
        format!("{}.weight", self.blueprint().names.embed)
    }

    /// Name of the norm before the head.
    pub fn norm_name(&self) -> String {
        format!("{}.weight", self.blueprint().names.norm)
    }

    /// Values of all query heads of a token.
    pub fn queries(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Values of all key heads of a token; there are as many of the value heads.
    pub fn keys(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}
