//! LLaMA (arXiv 2302.13971, 2307.09288, 2407.21783): grouped queries, rotary positions, a gated MLP, a norm before each half of
//! a block, biases where a configuration asks for them.

use super::parts::{down, gateup, hidden, norm, o, qkv};
use super::{Blueprint, Fields, Names};
use crate::ops::activation::Gate;
use crate::ops::attention::Pairs;

/// What most families have in common.
pub(super) const PLAIN: Blueprint = Blueprint {
    architectures: &[("LlamaForCausalLM", "llama")],
    complex: false,
    gate: Gate::Silu,
    hidden_act: &["silu", "swish"],
    norm_eps: 1e-6,
    norm_offset: 0.0,
    centered: false,
    pairs: Pairs::Halves,
    head_norms: None,
    experts: None,
    fields: Fields::LLAMA,
    dense_head: false,
    stages: 2,
    names: Names {
        embed: "model.embed_tokens",
        norm: "model.norm",
        blocks: "model.layers.",
    },
    norms: &[
        norm("input_layernorm", hidden),
        norm("post_attention_layernorm", hidden),
    ],
    stacks: &[qkv(Some(0)), o(None), gateup(Some(1)), down(None)],
};

/// The family.
pub static LLAMA: Blueprint = PLAIN;
