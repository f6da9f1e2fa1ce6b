//! Mixtral (arXiv 2401.04088): Mistral whose MLPs are mixtures of experts.

use super::llama::PLAIN;
use super::{Blueprint, ExpertNames, Fields, Windows, mistral};

/// The family.
pub(super) static MIXTRAL: Blueprint = Blueprint {
    architectures: &[("MixtralForCausalLM", "mixtral")],
    norm_eps: 1e-5,
    experts: Some(ExpertNames {
        router: "block_sparse_moe.gate",
        expert: "block_sparse_moe.experts.",
        layers: ["w1", "w3", "w2"],
        usual: [8, 2],
        width: ("intermediate_size", None),
        normalized: None,
    }),
    fields: Fields {
        theta: 1e6,
        windows: Windows::All(None),
        ..mistral::FIELDS
    },
    ..PLAIN
};
