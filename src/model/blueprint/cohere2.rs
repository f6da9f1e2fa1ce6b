//! Command R7B (arXiv 2504.00698): attention and MLP read the same norm of the residual stream, which subtracts the mean; three of
//! four layers have a window, and only those are rotated, by pairs of neighbours.

use super::llama::PLAIN;
use super::parts::{down, gateup, hidden, norm, o, qkv};
use super::{Biased, Blueprint, Fields, Rotaries, Windows};
use crate::ops::attention::Pairs;

/// The family. Gate and up are made before o is added to the stream that they read.
pub(super) static COHERE2: Blueprint = Blueprint {
    architectures: &[("Cohere2ForCausalLM", "cohere2")],
    norm_eps: 1e-5,
    centered: true,
    pairs: Pairs::Neighbours,
    norms: &[norm("input_layernorm", hidden)],
    stacks: &[qkv(Some(0)), gateup(Some(0)), o(None), down(None)],
    fields: Fields {
        tied: true,
        context: 8192,
        norm_eps: "layer_norm_eps",
        mlp_bias: Biased::Never,
        windows: Windows::Pattern {
            every: 4,
            window: 4096,
        },
        rotaries: Rotaries::InWindows,
        numbers: &[("logit_scale", 0.0625)],
        ..Fields::LLAMA
    },
    ..PLAIN
};
