//! Writing `config.json`.

use super::quantization_config;
use crate::model::blueprint::{Rotaries, Windows};
use crate::model::{Config, Dtype, LayerAttention, Recipe, RopeScaling, Rotary};
use serde_json::{Map, Value, json};

/// `config.json` for a model: the fields of `original` (those of [`plain`] for a model that was not read from a
/// folder), with everything replaced that the writing decides: how linear layers are stored, whether the head is
/// still tied, and the element type of the dense tensors.
pub fn to_json(
    config: &Config,
    recipe: Option<&Recipe>,
    dtype: Dtype,
    original: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let mut map = original.cloned().unwrap_or_else(|| plain(config));
    map.insert("tie_word_embeddings".to_owned(), config.tied.into());
    match recipe.and_then(quantization_config) {
        Some(value) => map.insert("quantization_config".to_owned(), value),
        None => map.remove("quantization_config"),
    };
    // Code that came with a model is not passed on, and ordinary layers need none.
    if !config.blueprint().complex {
        map.remove("auto_map");
    }
    // Transformers 5 calls it `dtype`.
    let field = if map.contains_key("dtype") {
        "dtype"
    } else {
        "torch_dtype"
    };
    let name = match dtype {
        Dtype::F16 => "float16",
        Dtype::BF16 => "bfloat16",
        Dtype::F32 | Dtype::U32 => "float32",
    };
    map.insert(field.to_owned(), name.into());
    map
}

/// `config.json` made from nothing but `config`.
pub fn plain(config: &Config) -> Map<String, Value> {
    let eos = match config.eos[..] {
        [] => Value::Null,
        [one] => one.into(),
        _ => config.eos.clone().into(),
    };
    let blueprint = config.blueprint();
    let reals = blueprint.reals();
    let mut map = Map::new();
    let mut put = |field: &str, value: Value| {
        map.insert(field.to_owned(), value);
    };
    put("architectures", json!([config.architecture]));
    put("model_type", model_type(config).into());
    put("vocab_size", config.vocab.into());
    put("hidden_size", (config.hidden / reals).into());
    put("intermediate_size", (config.intermediate / reals).into());
    put("num_hidden_layers", config.layers.into());
    put("num_attention_heads", config.heads.into());
    put("num_key_value_heads", config.kv_heads.into());
    put("head_dim", (config.head_dim / reals).into());
    put("max_position_embeddings", config.context.into());
    put("rope_theta", config.rope.theta.into());
    put("rope_scaling", rope_scaling(&config.rope.scaling));
    put("tie_word_embeddings", config.tied.into());
    put("bos_token_id", config.bos.into());
    put("eos_token_id", eos);
    put("hidden_act", blueprint.hidden_act[0].into());
    let variant = &config.variant;
    put("attention_bias", variant.output_bias.into());
    put("mlp_bias", variant.mlp_bias.into());
    put(blueprint.fields.norm_eps, shortest(config.norm_eps));
    if let Some(width) = variant.rotary_dim {
        let factor = width as f64 / config.head_dim as f64;
        put("partial_rotary_factor", factor.into());
    }
    for (field, _) in blueprint.fields.numbers {
        put(field, number(config, field));
    }
    map.append(&mut layers(config));
    map.append(&mut experts(config));
    map
}

/// A factor or cap as its field has it.
fn number(config: &Config, field: &str) -> Value {
    let variant = &config.variant;
    let cap = |cap: f32| {
        if cap > 0.0 {
            shortest(cap)
        } else {
            Value::Null
        }
    };
    match field {
        "attn_logit_softcapping" => cap(variant.score_cap),
        "final_logit_softcapping" => cap(variant.logit_cap),
        "query_pre_attn_scalar" => {
            let scale = f64::from(config.score_scale());
            let scalar = scale.powi(-2);
            // an integer in every configuration, but for the rounding of the scale
            let whole = scalar.round();
            let close = (scalar / whole - 1.0).abs() < 1e-6;
            if close {
                (whole as u64).into()
            } else {
                scalar.into()
            }
        }
        "attention_multiplier" => shortest(config.score_scale()),
        "embedding_multiplier" => shortest(variant.embedding_scale),
        "residual_multiplier" => shortest(variant.residual_scale),
        "logits_scaling" => shortest(1.0 / variant.logit_scale),
        _ => shortest(variant.logit_scale),
    }
}

/// Which layers have a window, and which are rotated.
fn layers(config: &Config) -> Map<String, Value> {
    let (fields, mut map) = (&config.blueprint().fields, Map::new());
    let all: Vec<_> = (0..config.layers).map(|l| config.attention(l)).collect();
    // Where rotation goes with the window, a window that hides nothing is one all the same.
    let slides = |layer: &LayerAttention| match fields.rotaries {
        Rotaries::LocalInWindows => layer.rotary == Rotary::Local,
        Rotaries::InWindows => layer.rotary == Rotary::Main,
        Rotaries::All | Rotaries::Listed => layer.window < usize::MAX,
    };
    let window = all.iter().map(|layer| layer.window).min();
    let window = window.filter(|&w| w < usize::MAX).unwrap_or(config.context);
    let any = all.iter().any(slides);
    if fields.windows != Windows::Never {
        let size = if any { window.into() } else { Value::Null };
        map.insert("sliding_window".to_owned(), size);
        map.insert("use_sliding_window".to_owned(), any.into());
        let kind = |layer| {
            if slides(layer) {
                "sliding_attention"
            } else {
                "full_attention"
            }
        };
        let kinds: Vec<_> = all.iter().map(kind).collect();
        map.insert("layer_types".to_owned(), kinds.into());
    }
    if fields.rotaries == Rotaries::Listed {
        let rotated = |layer: &LayerAttention| u64::from(layer.rotary == Rotary::Main);
        let rotated: Vec<_> = all.iter().map(rotated).collect();
        map.insert("no_rope_layers".to_owned(), rotated.into());
    }
    if let Some(local) = &config.variant.local_rope {
        map.insert("rope_local_base_freq".to_owned(), local.theta.into());
    }
    map
}

/// The experts of a model that has some.
fn experts(config: &Config) -> Map<String, Value> {
    let Some(experts) = &config.variant.experts else {
        return Map::new();
    };
    let fields = [
        ("num_local_experts", experts.count.into()),
        ("num_experts", experts.count.into()),
        ("num_experts_per_tok", experts.chosen.into()),
        ("moe_intermediate_size", experts.width.into()),
        ("norm_topk_prob", experts.normalized.into()),
        ("decoder_sparse_step", 1.into()),
        ("mlp_only_layers", experts.dense_layers.clone().into()),
    ];
    fields
        .map(|(field, value)| (field.to_owned(), value))
        .into_iter()
        .collect()
}

/// Hugging Face's `model_type` of its architecture; that of the family's first one where it has no name there.
fn model_type(config: &Config) -> &'static str {
    let all = config.blueprint().architectures;
    let own = all.iter().find(|(name, _)| *name == config.architecture);
    own.or(all.first()).map_or("", |(_, model_type)| model_type)
}

fn rope_scaling(scaling: &RopeScaling) -> Value {
    match scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
        RopeScaling::Dynamic { factor, .. } => json!({"rope_type": "dynamic", "factor": factor}),
        RopeScaling::Yarn(yarn) => json!({
            "rope_type": "yarn",
            "factor": yarn.factor,
            "original_max_position_embeddings": yarn.original_context as u64,
            "beta_fast": yarn.beta_fast,
            "beta_slow": yarn.beta_slow,
            "attention_factor": yarn.attention_factor,
            "truncate": yarn.truncate,
        }),
        RopeScaling::LongRope(long) => json!({
            "rope_type": "longrope",
            "short_factor": long.short_factor,
            "long_factor": long.long_factor,
            "original_max_position_embeddings": long.original_context,
            "attention_factor": long.attention_factor,
        }),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context,
        } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": *original_context as u64,
        }),
    }
}

/// An f32 in the digits that give it back, not those of the f64 beside it (1e-5, not 9.999999747378752e-6).
fn shortest(x: f32) -> Value {
    let digits: f64 = format!("{x:e}").parse().unwrap_or_else(|_| x.into());
    digits.into()
}
