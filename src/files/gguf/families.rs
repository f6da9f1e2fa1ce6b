//! Families of models as llama.cpp names them: what they are called at Hugging Face, the fields that only they have,
//! and what their files change in the tensors.

use super::config::head_dim;
use super::keys::Keys;
use super::value::Value as Stored;
use crate::error::Result;
use crate::files::json::show;
use serde_json::{Map, Value, json};

/// A family.
#[derive(Clone, Copy)]
pub(super) struct Family {
    /// `general.architecture`.
    pub(super) name: &'static str,
    /// Its class at Hugging Face.
    pub(super) architecture: &'static str,
    /// Its `model_type` there.
    pub(super) model_type: &'static str,
    /// Whether rows of q and k lie in pairs, as llama.cpp's rotary embedding of this family turns neighbours.
    pub(super) paired: bool,
    /// Whether norms are stored with the 1 that the family adds to them.
    pub(super) shifted_norms: bool,
    /// Which norms it has.
    pub(super) norms: Norms,
    /// Adds its own fields to those that all families have.
    pub(super) fields: fn(&Keys<'_>, &mut Map<String, Value>) -> Result<()>,
}

/// Where the norms of a block stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Norms {
    /// Before attention and before the MLP.
    Before,
    /// Behind both.
    After,
    /// Before and behind both.
    Around,
}

const fn plain(
    name: &'static str,
    architecture: &'static str,
    model_type: &'static str,
    fields: fn(&Keys<'_>, &mut Map<String, Value>) -> Result<()>,
) -> Family {
    Family {
        name,
        architecture,
        model_type,
        paired: false,
        shifted_norms: false,
        norms: Norms::Before,
        fields,
    }
}

const fn paired(family: Family) -> Family {
    Family {
        paired: true,
        ..family
    }
}

const fn gemma(family: Family) -> Family {
    Family {
        shifted_norms: true,
        norms: Norms::Around,
        ..family
    }
}

const FAMILIES: [Family; 11] = [
    paired(plain("llama", "LlamaForCausalLM", "llama", nothing)),
    plain("qwen2", "Qwen2ForCausalLM", "qwen2", no_window),
    plain("qwen3", "Qwen3ForCausalLM", "qwen3", no_window),
    plain("qwen3moe", "Qwen3MoeForCausalLM", "qwen3_moe", qwen3_moe),
    plain("phi3", "Phi3ForCausalLM", "phi3", phi3),
    paired(plain("smollm3", "SmolLM3ForCausalLM", "smollm3", smollm3)),
    Family {
        norms: Norms::After,
        ..plain("olmo2", "Olmo2ForCausalLM", "olmo2", nothing)
    },
    paired(plain("granite", "GraniteForCausalLM", "granite", granite)),
    gemma(plain("gemma2", "Gemma2ForCausalLM", "gemma2", gemma2)),
    gemma(plain("gemma3", "Gemma3ForCausalLM", "gemma3_text", gemma3)),
    plain("cohere2", "Cohere2ForCausalLM", "cohere2", cohere2),
];

/// LLaMA with experts, which shares LLaMA's name.
const MIXTRAL: Family = paired(plain("llama", "MixtralForCausalLM", "mixtral", mixtral));

/// The family of a file.
///
/// # Errors
/// [`crate::Error::Config`] for an unknown one.
pub(super) fn family(keys: &Keys<'_>) -> Result<Family> {
    let experts = keys.count("expert_count")?.unwrap_or(0) > 0;
    if experts && keys.architecture == MIXTRAL.name {
        return Ok(MIXTRAL);
    }
    let known = FAMILIES
        .iter()
        .find(|family| family.name == keys.architecture);
    known.copied().ok_or_else(|| {
        let names: Vec<_> = FAMILIES.iter().map(|family| family.name).collect();
        let what = format!(
            "`{}` is not supported; {}, fairy2i and ifairy are",
            show(keys.architecture),
            names.join(", ")
        );
        keys.error_of("general.architecture", what)
    })
}

/// The family of a class of Hugging Face, if files of it need no fields but sizes and rotation.
pub(super) fn written(architecture: &str) -> Option<Family> {
    const PLAIN: [&str; 4] = ["llama", "qwen2", "qwen3", "olmo2"];
    let architecture = match architecture {
        "MistralForCausalLM" => "LlamaForCausalLM",
        other => other,
    };
    let all = FAMILIES.iter().filter(|f| PLAIN.contains(&f.name));
    all.copied().find(|f| f.architecture == architecture)
}

type Fields = Map<String, Value>;

fn put(map: &mut Fields, field: &str, value: impl Into<Value>) {
    map.insert(field.to_owned(), value.into());
}

fn nothing(_: &Keys<'_>, _: &mut Fields) -> Result<()> {
    Ok(())
}

fn no_window(_: &Keys<'_>, map: &mut Fields) -> Result<()> {
    put(map, "use_sliding_window", false);
    Ok(())
}

fn mixtral(keys: &Keys<'_>, map: &mut Fields) -> Result<()> {
    put(map, "num_local_experts", keys.required("expert_count")?);
    let used = keys.required("expert_used_count")?;
    put(map, "num_experts_per_tok", used);
    put(map, "sliding_window", Value::Null);
    Ok(())
}

fn qwen3_moe(keys: &Keys<'_>, map: &mut Fields) -> Result<()> {
    put(map, "num_experts", keys.required("expert_count")?);
    let used = keys.required("expert_used_count")?;
    put(map, "num_experts_per_tok", used);
    let width = keys.required("expert_feed_forward_length")?;
    put(map, "moe_intermediate_size", width);
    put(map, "norm_topk_prob", true);
    put(map, "decoder_sparse_step", 1);
    put(map, "mlp_only_layers", json!([]));
    no_window(keys, map)
}

fn phi3(keys: &Keys<'_>, map: &mut Fields) -> Result<()> {
    let window = keys.count("attention.sliding_window")?;
    put(map, "sliding_window", window.filter(|n| *n > 0));
    Ok(())
}

fn smollm3(keys: &Keys<'_>, map: &mut Fields) -> Result<()> {
    let layers = keys.required("block_count")?.min(1 << 16);
    let rotated: Vec<u8> = (1..=layers).map(|l| u8::from(l % 4 != 0)).collect();
    put(map, "no_rope_layers", rotated);
    put(map, "no_rope_layer_interval", 4);
    no_window(keys, map)
}

fn granite(keys: &Keys<'_>, map: &mut Fields) -> Result<()> {
    let usual = (head_dim(keys)? as f64).powf(-0.5);
    for (field, key, usual) in [
        ("attention_multiplier", "attention.scale", usual),
        ("embedding_multiplier", "embedding_scale", 1.0),
        ("residual_multiplier", "residual_scale", 1.0),
        ("logits_scaling", "logit_scale", 1.0),
    ] {
        put(map, field, keys.number(key)?.unwrap_or(usual));
    }
    Ok(())
}

/// Attention of Gemma is scaled by heads of another size in the largest models of both generations, which files do not
/// say: they are told by their number of layers, as llama.cpp tells them.
fn gemma_scale(keys: &Keys<'_>, map: &mut Fields, largest: u64) -> Result<()> {
    let scalar = match keys.required("block_count")? == largest {
        true => keys.required("embedding_length")? / keys.required("attention.head_count")?.max(1),
        false => head_dim(keys)?,
    };
    put(map, "query_pre_attn_scalar", scalar);
    map.remove("hidden_act");
    put(map, "hidden_activation", "gelu_pytorch_tanh");
    Ok(())
}

/// Every layer's kind, the last of each `pattern` layers looking at everything and the others at a window.
fn layer_types(keys: &Keys<'_>, map: &mut Fields, pattern: u64) -> Result<()> {
    let window = keys.count("attention.sliding_window")?;
    let window = window.filter(|n| *n > 0);
    put(map, "sliding_window", window);
    let stated = keys.get("attention.sliding_window_pattern");
    let layers = keys.required("block_count")?.min(1 << 16);
    let list = stated.and_then(Stored::array);
    let list: Option<Vec<_>> = list.map(|list| list.iter().map(Stored::bool).collect());
    let pattern = stated.and_then(Stored::unsigned).unwrap_or(pattern);
    let kind = |layer: u64| {
        let slides = match &list {
            Some(list) => list.get(layer as usize).copied().flatten()?,
            None => pattern > 0 && !(layer + 1).is_multiple_of(pattern),
        };
        let slides = slides && window.is_some();
        Some(if slides {
            "sliding_attention"
        } else {
            "full_attention"
        })
    };
    let kinds: Option<Vec<_>> = (0..layers).map(kind).collect();
    let what = "does not say of every layer whether its window slides";
    let kinds = kinds.ok_or_else(|| keys.error("attention.sliding_window_pattern", what))?;
    put(map, "layer_types", kinds);
    Ok(())
}

fn gemma2(keys: &Keys<'_>, map: &mut Fields) -> Result<()> {
    for (field, key, usual) in [
        ("attn_logit_softcapping", "attn_logit_softcapping", 50.0),
        ("final_logit_softcapping", "final_logit_softcapping", 30.0),
    ] {
        put(map, field, keys.number(key)?.unwrap_or(usual));
    }
    layer_types(keys, map, 2)?;
    gemma_scale(keys, map, 46)
}

fn gemma3(keys: &Keys<'_>, map: &mut Fields) -> Result<()> {
    let local = keys.number("rope.freq_base_swa")?.unwrap_or(10_000.0);
    put(map, "rope_local_base_freq", local);
    put(
        map,
        "final_logit_softcapping",
        keys.number("final_logit_softcapping")?,
    );
    layer_types(keys, map, 6)?;
    gemma_scale(keys, map, 62)
}

fn cohere2(keys: &Keys<'_>, map: &mut Fields) -> Result<()> {
    let eps = keys.number("attention.layer_norm_epsilon")?;
    put(map, "layer_norm_eps", eps);
    map.remove("rms_norm_eps");
    put(map, "logit_scale", keys.number("logit_scale")?);
    layer_types(keys, map, 4)
}
