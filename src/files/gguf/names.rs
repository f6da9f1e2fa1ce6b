//! Where the tensors of Hugging Face's checkpoints are in GGUF files, and what was changed in them.

use super::families::{Family, Norms};
use crate::model::Config;

/// Where a tensor is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its name in the file.
    pub(super) name: String,
    /// Which of the matrices that lie there together it is, if there are several.
    pub(super) expert: Option<usize>,
    /// What was changed.
    pub(super) change: Change,
}

/// What a converter changed, and a reader takes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// In each head of so many rows, row i of the first half and row i of the second lie beside each other.
    Paired(usize),
    /// The 1 that the family adds to its norms is in them.
    Shifted,
}

/// Linear layers and norms of heads.
const LAYERS: [(&str, &str); 15] = [
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("mlp.gate", "ffn_gate_inp"),
    ("block_sparse_moe.gate", "ffn_gate_inp"),
    ("input_layernorm", "attn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];

/// Matrices of experts.
const EXPERTS: [(&str, &str); 6] = [
    ("w1", "ffn_gate_exps"),
    ("w2", "ffn_down_exps"),
    ("w3", "ffn_up_exps"),
    ("gate_proj", "ffn_gate_exps"),
    ("down_proj", "ffn_down_exps"),
    ("up_proj", "ffn_up_exps"),
];

/// Where the tensor that Hugging Face calls `name` is; `None` for names of no family.
pub(super) fn place(family: &Family, config: &Config, name: &str) -> Option<Place> {
    let (module, last) = name.rsplit_once('.')?;
    let (stored, expert) = match module {
        "model.embed_tokens" => ("token_embd".to_owned(), None),
        "model.norm" => ("output_norm".to_owned(), None),
        Config::HEAD => ("output".to_owned(), None),
        _ => {
            let (layer, module) = module.strip_prefix("model.layers.")?.split_once('.')?;
            let layer: usize = layer.parse().ok()?;
            let (stored, expert) = in_block(family.norms, module)?;
            (format!("blk.{layer}.{stored}"), expert)
        }
    };
    let rotated = module.ends_with("self_attn.q_proj") || module.ends_with("self_attn.k_proj");
    let change = match () {
        () if family.paired && rotated => Change::Paired(config.head_dim),
        () if family.shifted_norms && module.ends_with("norm") => Change::Shifted,
        () => Change::None,
    };
    Some(Place {
        name: format!("{stored}.{last}"),
        expert,
        change,
    })
}

/// The name of a module of a block, and which of several experts it is.
pub(super) fn in_block(norms: Norms, module: &str) -> Option<(&'static str, Option<usize>)> {
    let by_name = |all: &[(&str, &'static str)], name: &str| {
        all.iter()
            .find(|(theirs, _)| *theirs == name)
            .map(|(_, stored)| *stored)
    };
    if let Some((_, expert)) = module.split_once(".experts.") {
        let (number, matrix) = expert.split_once('.')?;
        return Some((by_name(&EXPERTS, matrix)?, Some(number.parse().ok()?)));
    }
    let stored = match module {
        "post_attention_layernorm" if norms == Norms::Before => "ffn_norm",
        "post_attention_layernorm" => "post_attention_norm",
        "pre_feedforward_layernorm" => "ffn_norm",
        _ => by_name(&LAYERS, module)?,
    };
    Some((stored, None))
}

/// Whether a tensor is no weight of the model: everybody computes it from the configuration, or it became part of that.
pub(super) fn is_factor(name: &str) -> bool {
    const LAST: [&str; 4] = [
        "rope_freqs.weight",
        "rope_factors_long.weight",
        "rope_factors_short.weight",
        "attn_rot_embd",
    ];
    LAST.iter().any(|last| name.ends_with(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_of_a_block_are_found() {
        for (norms, module, stored) in [
            (
                Norms::Before,
                "post_attention_layernorm",
                ("ffn_norm", None),
            ),
            (
                Norms::After,
                "post_attention_layernorm",
                ("post_attention_norm", None),
            ),
            (
                Norms::Around,
                "pre_feedforward_layernorm",
                ("ffn_norm", None),
            ),
            (Norms::Before, "mlp.gate_up_proj", ("ffn_up", None)),
            (Norms::Before, "mlp.gate", ("ffn_gate_inp", None)),
            (
                Norms::Before,
                "mlp.experts.11.gate_proj",
                ("ffn_gate_exps", Some(11)),
            ),
            (
                Norms::Before,
                "block_sparse_moe.experts.0.w2",
                ("ffn_down_exps", Some(0)),
            ),
        ] {
            assert_eq!(in_block(norms, module), Some(stored), "{module}");
        }
        for module in ["mlp.experts.x.up_proj", "mlp.experts.1", "mlp.other"] {
            assert_eq!(in_block(Norms::Before, module), None, "{module}");
        }
    }
}
