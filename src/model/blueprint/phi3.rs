//! Phi 3 and 4 (arXiv 2404.14219, 2412.08905): LLaMA whose q, k, v and whose gate and up are one matrix each; a part of each head
//! may be rotated.

use super::llama::PLAIN;
use super::parts::{down, gateup, intermediate, layer, o, qkv, unbiased};
use super::{Biased, Blueprint, Config, Fields, Stack, Windows};

/// The family.
pub(super) static PHI3: Blueprint = Blueprint {
    architectures: &[("Phi3ForCausalLM", "phi3")],
    norm_eps: 1e-5,
    stacks: &[
        Stack {
            layers: &[layer("qkv", "self_attn.qkv_proj", all_heads, unbiased)],
            ..qkv(Some(0))
        },
        o(None),
        Stack {
            layers: &[layer("gateup", "mlp.gate_up_proj", pairs, unbiased)],
            ..gateup(Some(1))
        },
        down(None),
    ],
    fields: Fields {
        context: 4096,
        original_context: Some(4096),
        qkv_bias: Biased::Never,
        output_bias: Biased::Never,
        mlp_bias: Biased::Never,
        windows: Windows::All(None),
        partial_rotary: true,
        ..Fields::LLAMA
    },
    ..PLAIN
};

fn all_heads(config: &Config) -> usize {
    config.queries() + 2 * config.keys()
}

fn pairs(config: &Config) -> usize {
    2 * intermediate(config)
}
