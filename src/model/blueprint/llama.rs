//! LLaMA (arXiv 2302.13971, 2307.09288, 2407.21783) and Mistral without a sliding window (arXiv 2310.06825): grouped
//! queries, rotary positions, a gated MLP, a norm before each half of a block, no biases.

use super::{Blueprint, Config, Input, Layer, Names, Norm, Output, Stack};
use crate::model::Form;
use crate::ops::activation::Gate;

/// The family.
pub static LLAMA: Blueprint = Blueprint {
    architectures: &[
        ("LlamaForCausalLM", "llama"),
        ("MistralForCausalLM", "mistral"),
    ],
    complex: false,
    gate: Gate::Silu,
    hidden_act: &["silu", "swish"],
    norm_eps: 1e-6,
    dense_head: false,
    stages: 2,
    names: Names {
        embed: "model.embed_tokens",
        norm: "model.norm",
        blocks: "model.layers.",
    },
    norms: &[
        Norm {
            name: "input_layernorm",
            width: hidden,
        },
        Norm {
            name: "post_attention_layernorm",
            width: hidden,
        },
    ],
    stacks: &[
        Stack {
            name: "qkv",
            input: Input::Residual,
            norm: Some(0),
            inputs: hidden,
            layers: &[
                layer("q", "self_attn.q_proj", Config::queries),
                layer("k", "self_attn.k_proj", Config::keys),
                layer("v", "self_attn.v_proj", Config::keys),
            ],
            output: Output::Attention,
        },
        Stack {
            name: "o",
            input: Input::Attention,
            norm: None,
            inputs: Config::queries,
            layers: &[layer("o", "self_attn.o_proj", hidden)],
            output: Output::Residual,
        },
        Stack {
            name: "gateup",
            input: Input::Residual,
            norm: Some(1),
            inputs: hidden,
            layers: &[
                layer("gate", "mlp.gate_proj", intermediate),
                layer("up", "mlp.up_proj", intermediate),
            ],
            output: Output::Gated,
        },
        Stack {
            name: "down",
            input: Input::Activation,
            norm: None,
            inputs: intermediate,
            layers: &[layer("down", "mlp.down_proj", hidden)],
            output: Output::Residual,
        },
    ],
};

const fn layer(kind: &'static str, name: &'static str, outputs: super::Width) -> Layer {
    Layer {
        kind,
        name,
        form: Form::WidelyLinear,
        outputs,
    }
}

fn hidden(config: &Config) -> usize {
    config.hidden
}

fn intermediate(config: &Config) -> usize {
    config.intermediate
}
