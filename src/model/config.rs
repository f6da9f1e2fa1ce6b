//! What a model is: shapes and constants, independent of any file format.
//!
//! What its tensors are follows from its family: see [`blueprint`](super::blueprint).

use super::Form;
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
}

/// Rotary embedding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// Stretching of the positions.
    pub scaling: RopeScaling,
}

/// `rope_scaling` of Hugging Face configurations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Plain.
    None,
    /// Positions divided by `factor`.
    Linear {
        /// How many times longer the context becomes.
        factor: f64,
    },
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
}

impl LinearShape {
    /// Columns of the weight as it is stored; it has a row for each real output.
    pub fn columns(&self) -> usize {
        self.form.columns(self.in_features)
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
