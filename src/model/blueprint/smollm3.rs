//! SmolLM 3: LLaMA in which some layers are not rotated (arXiv 2501.18795).

use super::llama::PLAIN;
use super::{Blueprint, Fields, Rotaries, Windows};

/// The family.
pub(super) static SMOLLM3: Blueprint = Blueprint {
    architectures: &[("SmolLM3ForCausalLM", "smollm3")],
    fields: Fields {
        tied: true,
        theta: 2e6,
        context: 32_768,
        windows: Windows::From,
        rotaries: Rotaries::Listed,
        ..Fields::LLAMA
    },
    ..PLAIN
};
