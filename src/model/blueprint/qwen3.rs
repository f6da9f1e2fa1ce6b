//! Qwen 3 (arXiv 2505.09388): Qwen 2 without biases, with a norm of every head of queries and of keys; its larger models have
//! mixtures of experts.

use super::llama::PLAIN;
use super::parts::{head, hidden, norm};
use super::{Biased, Blueprint, ExpertNames, Fields, HeadNorms, Windows};

/// The family.
pub(super) static QWEN3: Blueprint = DENSE;

/// The family with mixtures of experts.
pub(super) static QWEN3_MOE: Blueprint = Blueprint {
    architectures: &[("Qwen3MoeForCausalLM", "qwen3_moe")],
    experts: Some(ExpertNames {
        router: "mlp.gate",
        expert: "mlp.experts.",
        layers: ["gate_proj", "up_proj", "down_proj"],
        usual: [128, 8],
        width: ("moe_intermediate_size", Some(768)),
        normalized: Some("norm_topk_prob"),
    }),
    fields: Fields {
        head_dim: None,
        ..FIELDS
    },
    ..DENSE
};

const DENSE: Blueprint = Blueprint {
    architectures: &[("Qwen3ForCausalLM", "qwen3")],
    norms: &[
        norm("input_layernorm", hidden),
        norm("post_attention_layernorm", hidden),
        norm("self_attn.q_norm", head),
        norm("self_attn.k_norm", head),
    ],
    head_norms: Some(HeadNorms { q: 2, k: 3 }),
    fields: FIELDS,
    ..PLAIN
};

const FIELDS: Fields = Fields {
    head_dim: Some(128),
    context: 32_768,
    mlp_bias: Biased::Never,
    windows: Windows::From,
    ..Fields::LLAMA
};
