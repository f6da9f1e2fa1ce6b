//! Qwen 2 and 2.5 (arXiv 2407.10671, 2412.15115): LLaMA with biases on q, k and v; layers from one on may see a window only.

use super::llama::PLAIN;
use super::{Biased, Blueprint, Fields, Windows};

/// The family.
pub(super) static QWEN2: Blueprint = Blueprint {
    architectures: &[("Qwen2ForCausalLM", "qwen2")],
    fields: Fields {
        context: 32_768,
        qkv_bias: Biased::Always,
        output_bias: Biased::Never,
        mlp_bias: Biased::Never,
        windows: Windows::From,
        ..Fields::LLAMA
    },
    ..PLAIN
};
