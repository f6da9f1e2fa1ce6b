//! iFairy (arXiv 2508.05571): complex throughout. Vectors are halves `[re | im]` of real ones of twice the size, layers are
//! `W conj(x)`, every stack reads through a norm, and the gate is a squared ReLU.

use super::llama::PLAIN;
use super::parts::{down, gateup, hidden, intermediate, norm, o, qkv, unbiased};
use super::{Biased, Blueprint, Config, Fields, Layer, Names, Stack};
use crate::model::Form;
use crate::ops::activation::Gate;

/// The family.
pub static IFAIRY: Blueprint = Blueprint {
    architectures: &[
        ("ComplexNetForCausalLM", "complexnet"),
        ("ComplexNetLM", "complexnet"),
    ],
    names: Names {
        embed: "token_embeddings",
        norm: "final_norm",
        blocks: "layer.",
    },
    complex: true,
    gate: Gate::SquaredRelu,
    // Its code squares whatever the field says, and some configurations still have that of the LLaMA they were made from.
    hidden_act: &["relu2", "silu"],
    norm_eps: 1e-5,
    dense_head: true,
    stages: 1,
    fields: Fields {
        qkv_bias: Biased::Never,
        output_bias: Biased::Never,
        mlp_bias: Biased::Never,
        ..Fields::LLAMA
    },
    norms: &[
        norm("pre_layernorm", hidden),
        norm("self_attn.attn_layernorm", Config::queries),
        norm("post_layernorm", hidden),
        norm("mlp.ffn_layernorm", intermediate),
    ],
    stacks: &[
        Stack {
            layers: &[
                layer("q", "self_attn.q_proj", Config::queries),
                layer("k", "self_attn.k_proj", Config::keys),
                layer("v", "self_attn.v_proj", Config::keys),
            ],
            ..qkv(Some(0))
        },
        Stack {
            norm: Some(1),
            layers: &[layer("o", "self_attn.o_proj", hidden)],
            ..o(None)
        },
        Stack {
            layers: &[
                layer("gate", "mlp.gate_proj", intermediate),
                layer("up", "mlp.up_proj", intermediate),
            ],
            ..gateup(Some(2))
        },
        Stack {
            norm: Some(3),
            layers: &[layer("down", "mlp.down_proj", hidden)],
            ..down(None)
        },
    ],
    ..PLAIN
};

const fn layer(kind: &'static str, name: &'static str, outputs: super::Width) -> Layer {
    Layer {
        kind,
        name,
        form: Form::Conjugate,
        outputs,
        bias: unbiased,
    }
}
