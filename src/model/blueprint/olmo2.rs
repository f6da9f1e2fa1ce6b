//! OLMo 2 (arXiv 2501.00656): norms of what is added to the residual stream instead of what is read from it, and of all queries
//! and all keys of a token.

use super::llama::PLAIN;
use super::parts::{down, gateup, hidden, norm, o, qkv};
use super::{Biased, Blueprint, Config, Fields, HeadNorms};

/// The family.
pub(super) static OLMO2: Blueprint = Blueprint {
    architectures: &[("Olmo2ForCausalLM", "olmo2")],
    norm_eps: 1e-5,
    norms: &[
        norm("self_attn.q_norm", Config::queries),
        norm("self_attn.k_norm", Config::keys),
        norm("post_attention_layernorm", hidden),
        norm("post_feedforward_layernorm", hidden),
    ],
    head_norms: Some(HeadNorms { q: 0, k: 1 }),
    stacks: &[qkv(None), o(Some(2)), gateup(None), down(Some(3))],
    fields: Fields {
        mlp_bias: Biased::Never,
        ..Fields::LLAMA
    },
    ..PLAIN
};
