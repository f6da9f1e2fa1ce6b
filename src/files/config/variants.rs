//! Fields with which relatives of LLaMA compute something else. They are refused by name unless their value asks for
//! nothing.

use super::{Fields, brief, show};
use crate::error::Result;
use crate::model::blueprint::Blueprint;
use serde_json::Value;

/// Fields that are harmless when they are off: false, 0, an empty string or list.
const OFF: [&str; 25] = [
    "attention_bias",
    "mlp_bias",
    "use_qk_norm",
    "qk_norm",
    "qk_layernorm",
    "qk_layernorms",
    "use_query_key_norm",
    "clip_qkv",
    "logit_cap",
    "logit_softcap",
    "logit_softcapping",
    "final_logit_softcapping",
    "attn_logit_softcapping",
    "alibi",
    "use_alibi",
    "parallel_attn",
    "parallel_residual",
    "use_parallel_residual",
    "use_bidirectional_attention",
    "attn_temperature_tuning",
    "attention_chunk_size",
    "no_rope_layer_interval",
    "no_rope_layers",
    "scale_depth",
    "dim_model_base",
];

/// Factors that are harmless when they are 1, and what 1 means.
const ONE: [(&str, &str); 9] = [
    ("partial_rotary_factor", "every value is rotated"),
    ("compress_pos_emb", "positions are not scaled"),
    ("logit_scale", LOGITS),
    ("logits_scale", LOGITS),
    ("logits_scaling", LOGITS),
    ("lm_head_multiplier", LOGITS),
    ("embedding_multiplier", "embeddings are not scaled"),
    ("scale_emb", "embeddings are not scaled"),
    ("residual_multiplier", "residuals are not scaled"),
];

const LOGITS: &str = "logits are not scaled";

/// Fields about rotary embeddings that are understood: all others are refused under whatever name.
const ROTARY: [&str; 5] = [
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "partial_rotary_factor",
    "rotary_dim",
];

impl Fields<'_> {
    /// Refuses variants of the family that compute something else.
    pub(super) fn refuse_variants(&self, architecture: &str, family: &Blueprint) -> Result<()> {
        for field in ["attention_bias", "mlp_bias"] {
            self.flag(field, false)?;
        }
        for field in OFF {
            if let Some(value) = self.get(field).filter(|value| !is_off(value)) {
                let what = format!("{} is not supported in a {architecture}", brief(value));
                return Err(self.error(field, what));
            }
        }
        for (field, meaning) in ONE {
            self.one(field, meaning)?;
        }
        let strange = |(field, _): &(&String, _)| {
            is_rotary(field) && !ROTARY.contains(&field.as_str()) && !OFF.contains(&field.as_str())
        };
        for (field, value) in self.map.iter().filter(strange) {
            let usual = is_off(value)
                || value.as_f64() == Some(1.0)
                || field == "use_rope" && value == true;
            if !usual {
                let what = format!("{} is not understood", brief(value));
                return Err(self.error(&show(field), what));
            }
        }
        for field in ["hidden_act", "hidden_activation", "activation_function"] {
            let usual = family.hidden_act[0];
            let act = self.text(field)?.unwrap_or(usual);
            if !family.hidden_act.contains(&act) {
                let what = format!("`{}` is not supported; {usual} is", show(act));
                return Err(self.error(field, what));
            }
        }
        Ok(())
    }

    /// Refuses a factor that is there and not 1.
    pub(super) fn one(&self, field: &str, meaning: &str) -> Result<()> {
        let factor = self.positive(field, Some(1.0))?;
        if factor == 1.0 {
            return Ok(());
        }
        let what = format!("{factor} is not supported; 1 ({meaning}) is");
        Err(self.error(field, what))
    }

    /// Attention may be scaled by `1 / sqrt(head_dim)` alone, whatever a field calls it.
    pub(super) fn refuse_scales(&self, head_dim: usize) -> Result<()> {
        let usual = (head_dim as f64).powf(-0.5);
        for (field, wanted) in [
            ("attention_multiplier", usual),
            ("query_pre_attn_scalar", head_dim as f64),
            ("rotary_dim", head_dim as f64),
        ] {
            let value = self.positive(field, Some(wanted))?;
            if (value / wanted - 1.0).abs() > 1e-6 {
                let what = format!("{value} is not supported with heads of {head_dim} values");
                return Err(self.error(field, format!("{what}; {wanted} is")));
            }
        }
        Ok(())
    }

    /// Mistral's sliding window is accepted where it never slides; LLaMA in transformers ignores the field, but not
    /// a list of layers that says where windows are.
    pub(super) fn refuse_window(&self, mistral: bool, context: usize) -> Result<()> {
        if let Some(layers) = self.get("layer_types").filter(|_| !mistral) {
            let all = layers.as_array().map_or(&[][..], Vec::as_slice);
            if let Some(other) = all.iter().find(|kind| *kind != "full_attention") {
                let what = format!("{} is not supported; full_attention is", brief(other));
                return Err(self.error("layer_types", what));
            }
        }
        let window = match self.map.get("sliding_window") {
            Some(Value::Null) => return Ok(()),
            _ if !mistral => return Ok(()),
            _ => self.size("sliding_window", Some(4096), usize::MAX)?,
        };
        if window < context {
            let what = format!(
                "{window} is below max_position_embeddings {context}: sliding windows are not supported"
            );
            return Err(self.error("sliding_window", what));
        }
        Ok(())
    }
}

/// Whether a word of the field's name begins with `rope` or `rotary`.
fn is_rotary(field: &str) -> bool {
    let name = field.to_lowercase();
    let mut words = name.split(|c: char| !c.is_alphanumeric());
    words.any(|word| word.starts_with("rope") || word.starts_with("rotary"))
}

/// Whether a value switches nothing on. A list of layers without rotary embeddings has a 1 for each layer with them.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "none",
        Value::Array(all) => all.iter().all(|each| each.as_u64() == Some(1)),
        Value::Bool(true) | Value::Object(_) => false,
    }
}
