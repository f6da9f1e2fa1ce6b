//! iFairy: `config.json`, its `quantization_config` included, from the metadata of a file, and the names of its tensors.

use super::super::keys::Keys;
use super::config::common;
use crate::error::Result;
use crate::model::{Config, Granularity, Method, Recipe};
use serde_json::{Map, Value};

/// `general.architecture` of these files.
pub(in super::super) const ARCHITECTURE: &str = "ifairy";

/// Modules of a block, and the names that their tensors have. Files of the first converter call the norms otherwise.
const MODULES: [(&str, &[&str]); 11] = [
    ("pre_layernorm", &["attn_norm", "pre_norm"]),
    ("self_attn.q_proj", &["attn_q"]),
    ("self_attn.k_proj", &["attn_k"]),
    ("self_attn.v_proj", &["attn_v"]),
    (
        "self_attn.attn_layernorm",
        &["attn_sub_norm", "attn_layernorm"],
    ),
    ("self_attn.o_proj", &["attn_output"]),
    ("post_layernorm", &["ffn_norm", "post_norm"]),
    ("mlp.gate_proj", &["ffn_gate"]),
    ("mlp.up_proj", &["ffn_up"]),
    ("mlp.ffn_layernorm", &["ffn_sub_norm"]),
    ("mlp.down_proj", &["ffn_down"]),
];

/// The names that the tensors of `module` may have in a file.
pub(super) fn names(module: &str) -> Vec<String> {
    let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    match module {
        "token_embeddings" => all(&["token_embd"]),
        "final_norm" => all(&["output_norm", "final_norm"]),
        Config::HEAD => all(&["output"]),
        _ => {
            let inner = module.strip_prefix("layer.");
            let Some((layer, inner)) = inner.and_then(|inner| inner.split_once('.')) else {
                return Vec::new();
            };
            let found = MODULES.iter().find(|(theirs, _)| *theirs == inner);
            let names = found.map_or(&[][..], |(_, names)| names).iter();
            names.map(|name| format!("blk.{layer}.{name}")).collect()
        }
    }
}

/// The fields of `config.json`. All sizes are complex, as they are there.
///
/// # Errors
/// [`crate::Error::Config`] naming the key.
pub(in super::super) fn config(keys: &Keys<'_>) -> Result<Map<String, Value>> {
    let heads = keys.required("attention.head_count")?;
    let hidden = keys.required("embedding_length")?;
    let rotated = keys.count("rope.dimension_count")?;
    if let Some(rotated) = rotated.filter(|n| n.checked_mul(heads) != Some(hidden)) {
        let what = format!("{rotated} is not embedding_length {hidden} by head_count {heads}");
        return Err(keys.error("rope.dimension_count", what));
    }
    let recipe = Recipe {
        method: Method::Phase { stages: 1 },
        granularity: Granularity::Row,
        skip_head: true,
        rotated: false,
    };
    let names = ["ComplexNetLM", "complexnet", "relu2"];
    let mut map = common(keys, names, 1, "attention.layer_norm_epsilon", &recipe)?;
    let theta = keys.number("rope.freq_base")?.unwrap_or(10_000.0);
    map.insert("rope_theta".to_owned(), theta.into());
    keys.refuse_others()?;
    Ok(map)
}
