//! `config.json`, its `quantization_config` included, from the metadata of a file.

use super::super::keys::Keys;
use super::super::rope;
use super::super::value::Value as Stored;
use super::{Dialect, Layout, TILE};
use crate::error::Result;
use crate::files::config::quantization_config;
use crate::files::json::show;
use crate::model::{Granularity, Method, Recipe};
use serde_json::{Map, Value, json};

/// `general.architecture` of these files.
pub(in super::super) const ARCHITECTURE: &str = "fairy2i";

/// Keys whose one meaning is the one that is understood.
const MEANINGS: [(&str, &[&str]); 8] = [
    ("quant.codebook", &["{+/-1,+/-i}"]),
    ("weight.layout", &["bundle_m64k64_v1"]),
    ("weight.scale_scope", &["m64_k64"]),
    ("weight.scale_dtype", &["f16", "bf16"]),
    ("weight.code_order", &["m16_q4_branch_lane"]),
    ("weight.branch_order", &["U0,W0", "U0,U1,W0,W1"]),
    ("attn.layout", &["llama_real", "qwen2_real", "qwen3_real"]),
    ("tokenizer.profile", &["llama_bpe", "qwen2"]),
];
/// Keys that are numbers of the layout.
const SIZES: [(&str, u64); 4] = [
    ("quant.tile_size", TILE as u64),
    ("weight.m_block", TILE as u64),
    ("weight.k_block", TILE as u64),
    ("weight.m_subtile", 16),
];
/// Keys that say how the file came to be.
const HISTORY: [&str; 10] = [
    "quant.format",
    "quant.variant",
    "quant.scale_stat",
    "quant.scale_source",
    "quant.numeric_profile",
    "base_model_type",
    "base_architecture",
    "vocab.original_size",
    "vocab.padded_size",
    "vocab.padding_multiple",
];

/// The fields of `config.json`, and how the tensors of the file lie.
///
/// # Errors
/// [`crate::Error::Config`] naming the key.
pub(in super::super) fn config(keys: &Keys<'_>) -> Result<(Map<String, Value>, Dialect)> {
    let base = keys.text("base_arch")?.unwrap_or("llama");
    let (architecture, model_type) = match base {
        "llama" => ("LlamaForCausalLM", "llama"),
        "qwen2" => ("Qwen2ForCausalLM", "qwen2"),
        "qwen3" => ("Qwen3ForCausalLM", "qwen3"),
        other => {
            let what = format!(
                "`{}` is not supported; llama, qwen2 and qwen3 are",
                show(other)
            );
            return Err(keys.error("base_arch", what));
        }
    };
    let (recipe, layout) = recipe(keys)?;
    check(keys, &recipe)?;
    // Complex sizes, but for heads.
    let names = [architecture, model_type, "silu"];
    let mut map = common(keys, names, 2, "attention.layer_norm_rms_epsilon", &recipe)?;
    let heads = keys.required("attention.head_count")?;
    let hidden = keys.required("embedding_length")?.saturating_mul(2);
    let dim = keys.count("rope.dimension_count")?;
    let dim = dim.unwrap_or(hidden / heads.max(1));
    let biases = ["blk.0.attn_q.bias", "blk.0.attn_qkv.bias"];
    let biased = biases.iter().any(|name| keys.tensor(name).is_some());
    let mut put = |field: &str, value: Value| map.insert(field.to_owned(), value);
    put("head_dim", dim.into());
    put("tie_word_embeddings", false.into());
    put("attention_bias", (biased && base != "qwen2").into());
    if base != "llama" {
        put("use_sliding_window", false.into());
    }
    rope::rope(keys, dim, &mut map)?;
    keys.refuse_others()?;
    Ok((map, Dialect::Fairy2i(layout)))
}

/// The fields that files of both dialects have: `names` are the architecture, the type and the activation. Sizes but for heads
/// are complex in files, and become `parts` real ones; `eps` is the key of what norms add.
///
/// # Errors
/// [`crate::Error::Config`] naming the key.
pub(super) fn common(
    keys: &Keys<'_>,
    [architecture, model_type, activation]: [&str; 3],
    parts: u64,
    eps: &str,
    recipe: &Recipe,
) -> Result<Map<String, Value>> {
    let vocab = keys.tensor("token_embd").and_then(|t| t.shape.first());
    let vocab = vocab.ok_or_else(|| keys.error_of("token_embd", "is missing"))?;
    let hidden = keys.required("embedding_length")?.saturating_mul(parts);
    let inner = keys.required("feed_forward_length")?.saturating_mul(parts);
    let heads = keys.required("attention.head_count")?;
    let kv_heads = keys.count("attention.head_count_kv")?.unwrap_or(heads);
    let context = keys.required("context_length")?;
    let id = |key: &str| keys.any(key).and_then(Stored::unsigned);
    let fields = [
        ("architectures", json!([architecture])),
        ("model_type", model_type.into()),
        ("hidden_act", activation.into()),
        ("vocab_size", (*vocab).into()),
        ("hidden_size", hidden.into()),
        ("intermediate_size", inner.into()),
        ("num_hidden_layers", keys.required("block_count")?.into()),
        ("num_attention_heads", heads.into()),
        ("num_key_value_heads", kv_heads.into()),
        ("max_position_embeddings", context.into()),
        ("rms_norm_eps", keys.number(eps)?.into()),
        ("bos_token_id", id("tokenizer.ggml.bos_token_id").into()),
        ("eos_token_id", id("tokenizer.ggml.eos_token_id").into()),
        ("quantization_config", quantization_config(recipe).into()),
    ];
    let fields = fields.map(|(field, value)| (field.to_owned(), value));
    Ok(fields.into_iter().collect())
}

/// How the codes of the file lie.
fn layout(keys_of: impl Fn(&str) -> Option<(u32, Vec<usize>)>) -> Option<(Layout, usize)> {
    for layer in ["attn_q", "attn_qkv"] {
        if let Some((46, shape)) = keys_of(&format!("blk.0.{layer}.bundle.codes")) {
            let branches = *shape.get(2)?;
            let whole = [2, 4].contains(&branches);
            return whole.then_some((Layout::Bundles, branches / 2));
        }
    }
    let (kind, _) = keys_of("blk.0.attn_q.U.s0")?;
    let layout = match kind {
        40 => Layout::Rows,
        42 | 44 => Layout::Tiles,
        _ => return None,
    };
    let stages = (0..4).take_while(|t| keys_of(&format!("blk.0.attn_q.U.s{t}")).is_some());
    Some((layout, stages.count()))
}

/// How the linear layers are packed, and how they lie.
fn recipe(keys: &Keys<'_>) -> Result<(Recipe, Layout)> {
    let of = |name: &str| {
        let tensor = keys.tensor(name)?;
        Some((tensor.kind.id, tensor.shape.clone()))
    };
    let what = "has codes in no layout that is understood";
    let (layout, stages) = layout(of).ok_or_else(|| keys.error_of("blk.0.attn_q", what))?;
    let recipe = Recipe {
        method: Method::Phase { stages },
        granularity: match layout {
            Layout::Rows => Granularity::Row,
            Layout::Bundles | Layout::Tiles => Granularity::Tile {
                rows: TILE,
                columns: TILE,
            },
        },
        skip_head: keys.tensor("output").is_some(),
        rotated: false,
    };
    Ok((recipe, layout))
}

/// Refuses a file that says it is something else than what its tensors are.
fn check(keys: &Keys<'_>, recipe: &Recipe) -> Result<()> {
    let schema = keys.count("schema_version")?.unwrap_or(0);
    if schema > 4 {
        return Err(keys.error("schema_version", format!("{schema} is newer than 4")));
    }
    for (key, meanings) in MEANINGS {
        if let Some(text) = keys.text(key)?
            && !meanings.contains(&text)
        {
            let what = format!(
                "`{}` is not supported; {} is",
                show(text),
                meanings.join(" or ")
            );
            return Err(keys.error(key, what));
        }
    }
    for (key, size) in SIZES {
        if let Some(found) = keys.count(key)?.filter(|found| *found != size) {
            return Err(keys.error(key, format!("{found} is not supported; {size} is")));
        }
    }
    if let Some(steps) = keys.count("quant.residual_steps")?
        && steps != recipe.most_stages() as u64
    {
        let what = format!("is {steps}, but there are {}", recipe.most_stages());
        return Err(keys.error("quant.residual_steps", what));
    }
    for key in HISTORY {
        let _ = keys.get(key);
    }
    Ok(())
}
