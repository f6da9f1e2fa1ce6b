//! Fields with which relatives of LLaMA compute something else. Those that the family understands become a [`Variant`]; the
//! others are refused by name unless their value asks for nothing.

use super::{Fields, brief, show};
use crate::error::Result;
use crate::model::Variant;
use crate::model::blueprint::{Biased, Blueprint};
use crate::ops::activation::Gate;
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
const ROTARY: [&str; 6] = [
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "rope_local_base_freq",
    "partial_rotary_factor",
    "rotary_dim",
];

impl Fields<'_> {
    /// What it does otherwise than LLaMA, but for its rotary embeddings.
    pub(super) fn variant(
        &self,
        family: &Blueprint,
        [hidden, head_dim, layers]: [usize; 3],
        context: usize,
    ) -> Result<Variant> {
        let usual = &family.fields;
        let biased = |bias: Biased| match bias {
            Biased::Never => Ok(false),
            Biased::Always => Ok(true),
            Biased::Field(field) => self.flag(field, false),
        };
        let number = |field: &str, neutral: f64| -> Result<f64> {
            match usual.numbers.iter().find(|(name, _)| *name == field) {
                None => Ok(neutral),
                Some((_, usual)) => self.factor_or_cap(field, *usual),
            }
        };
        let mut variant = Variant {
            qkv_bias: biased(usual.qkv_bias)?,
            output_bias: biased(usual.output_bias)?,
            mlp_bias: biased(usual.mlp_bias)?,
            rotary_dim: self.rotary_dim(family, head_dim)?,
            layers: self.layer_attention(family, layers, context)?,
            local_rope: None,
            score_scale: None,
            score_cap: number("attn_logit_softcapping", 0.0)? as f32,
            logit_cap: number("final_logit_softcapping", 0.0)? as f32,
            logit_scale: (number("logit_scale", 1.0)? / number("logits_scaling", 1.0)?) as f32,
            embedding_scale: number("embedding_multiplier", 1.0)? as f32,
            residual_scale: number("residual_multiplier", 1.0)? as f32,
            experts: self.experts(family, layers)?,
        };
        if usual.rooted_embedding {
            variant.embedding_scale = (hidden as f64).sqrt() as f32;
        }
        let plain = (head_dim as f64).powf(-0.5);
        let scalar = number("query_pre_attn_scalar", head_dim as f64)?;
        let scale = number("attention_multiplier", scalar.powf(-0.5))?;
        if (scale / plain - 1.0).abs() > 1e-7 {
            variant.score_scale = Some(scale as f32);
        }
        self.refuse_scales(family, head_dim)?;
        Ok(variant)
    }

    /// A factor above 0, or a cap, of which 0 and null are none.
    fn factor_or_cap(&self, field: &str, usual: f64) -> Result<f64> {
        let cap = field.ends_with("softcapping");
        match self.map.get(field) {
            Some(Value::Null) if cap => Ok(0.0),
            Some(value) if cap && is_off(value) => Ok(0.0),
            None => Ok(usual),
            Some(_) => self.positive(field, Some(usual)),
        }
    }

    /// Refuses variants of the family that compute something else.
    pub(super) fn refuse_variants(&self, architecture: &str, family: &Blueprint) -> Result<()> {
        for field in ["attention_bias", "mlp_bias"] {
            self.flag(field, false)?;
        }
        for field in OFF.iter().filter(|field| !family.fields.understands(field)) {
            if let Some(value) = self.get(field).filter(|value| !is_off(value)) {
                let what = format!("{} is not supported in a {architecture}", brief(value));
                return Err(self.error(field, what));
            }
        }
        for (field, meaning) in ONE {
            if !family.fields.understands(field) {
                self.one(field, meaning)?;
            }
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
        self.activation(family)
    }

    /// Refuses another activation function than the family's. Where `hidden_activation` is there, the Gemmas read that alone.
    fn activation(&self, family: &Blueprint) -> Result<()> {
        let usual = family.hidden_act[0];
        let gelu = family.gate == Gate::GeluTanh;
        let fields = match self.get("hidden_activation") {
            Some(_) if gelu => &["hidden_activation"][..],
            _ => &["hidden_act", "hidden_activation", "activation_function"],
        };
        for field in fields {
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

    /// Attention may be scaled by `1 / sqrt(head_dim)` alone in families that do not say otherwise, whatever a field calls it.
    fn refuse_scales(&self, family: &Blueprint, head_dim: usize) -> Result<()> {
        let usual = (head_dim as f64).powf(-0.5);
        for (field, wanted) in [
            ("attention_multiplier", usual),
            ("query_pre_attn_scalar", head_dim as f64),
            ("rotary_dim", head_dim as f64),
        ] {
            if family.fields.understands(field) {
                continue;
            }
            let value = self.positive(field, Some(wanted))?;
            if (value / wanted - 1.0).abs() > 1e-6 {
                let what = format!("{value} is not supported with heads of {head_dim} values");
                return Err(self.error(field, format!("{what}; {wanted} is")));
            }
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
