//! Mistral (arXiv 2310.06825): LLaMA whose layers may see a window only.

use super::llama::PLAIN;
use super::{Biased, Blueprint, Fields, Windows};

/// The family.
pub(super) static MISTRAL: Blueprint = Blueprint {
    architectures: &[("MistralForCausalLM", "mistral")],
    fields: FIELDS,
    ..PLAIN
};

pub(super) const FIELDS: Fields = Fields {
    context: 4096 * 32,
    qkv_bias: Biased::Never,
    output_bias: Biased::Never,
    mlp_bias: Biased::Never,
    windows: Windows::All(Some(4096)),
    ..Fields::LLAMA
};
