//! Writing `config.json`.

use super::quantization_config;
use crate::model::{Config, Dtype, Recipe, RopeScaling};
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
    let mistral = config.architecture.starts_with("Mistral");
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
    put("rope_scaling", rope_scaling(config.rope.scaling));
    put("rms_norm_eps", shortest(config.norm_eps));
    put("tie_word_embeddings", config.tied.into());
    put("bos_token_id", config.bos.into());
    put("eos_token_id", eos);
    put("hidden_act", blueprint.hidden_act[0].into());
    put("attention_bias", false.into());
    put("mlp_bias", false.into());
    if mistral {
        put("sliding_window", Value::Null);
    }
    map
}

/// Hugging Face's `model_type` of its architecture; that of the family's first one where it has no name there.
fn model_type(config: &Config) -> &'static str {
    let all = config.blueprint().architectures;
    let own = all.iter().find(|(name, _)| *name == config.architecture);
    own.or(all.first()).map_or("", |(_, model_type)| model_type)
}

fn rope_scaling(scaling: RopeScaling) -> Value {
    match scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
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
            "original_max_position_embeddings": original_context as u64,
        }),
    }
}

/// An f32 in the digits that give it back, not those of the f64 beside it (1e-5, not 9.999999747378752e-6).
fn shortest(x: f32) -> Value {
    let digits: f64 = format!("{x:e}").parse().unwrap_or_else(|_| x.into());
    digits.into()
}
