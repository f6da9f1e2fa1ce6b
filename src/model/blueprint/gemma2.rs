//! Gemma 2 (arXiv 2408.00118): norms before and after each half of a block whose weights are stored less 1, caps of scores and
//! logits, every other layer with a window, a gate of GELU, embeddings times the root of their size.

use super::llama::PLAIN;
use super::parts::{down, gateup, hidden, norm, o, qkv};
use super::{Biased, Blueprint, Fields, Windows};
use crate::ops::activation::Gate;

/// The family.
pub(super) static GEMMA2: Blueprint = TWICE_NORMED;

pub(super) const TWICE_NORMED: Blueprint = Blueprint {
    architectures: &[("Gemma2ForCausalLM", "gemma2")],
    gate: Gate::GeluTanh,
    hidden_act: &["gelu_pytorch_tanh", "gelu_new"],
    norm_offset: 1.0,
    norms: &[
        norm("input_layernorm", hidden),
        norm("post_attention_layernorm", hidden),
        norm("pre_feedforward_layernorm", hidden),
        norm("post_feedforward_layernorm", hidden),
    ],
    stacks: &[qkv(Some(0)), o(Some(1)), gateup(Some(2)), down(Some(3))],
    fields: FIELDS,
    ..PLAIN
};

pub(super) const FIELDS: Fields = Fields {
    tied: true,
    head_dim: Some(256),
    context: 8192,
    mlp_bias: Biased::Never,
    windows: Windows::Pattern {
        every: 2,
        window: 4096,
    },
    rooted_embedding: true,
    numbers: &[
        ("query_pre_attn_scalar", 256.0),
        ("attn_logit_softcapping", 50.0),
        ("final_logit_softcapping", 30.0),
    ],
    ..Fields::LLAMA
};
