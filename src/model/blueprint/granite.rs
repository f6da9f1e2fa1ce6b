//! Granite 3: LLaMA with factors of embeddings, scores, residuals and logits.

use super::llama::PLAIN;
use super::{Blueprint, Fields};

/// The family.
pub(super) static GRANITE: Blueprint = Blueprint {
    architectures: &[("GraniteForCausalLM", "granite")],
    fields: Fields {
        numbers: &[
            ("embedding_multiplier", 1.0),
            ("attention_multiplier", 1.0),
            ("residual_multiplier", 1.0),
            ("logits_scaling", 1.0),
        ],
        ..Fields::LLAMA
    },
    ..PLAIN
};
