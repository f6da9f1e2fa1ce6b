//! Gemma 3 (arXiv 2503.19786), its part that reads text: Gemma 2 without caps, with norms of every head of queries and keys, and
//! with a base of rotary frequencies of its own in the layers with a window, which are five of six.

use super::parts::{head, hidden, norm};
use super::{Blueprint, Fields, HeadNorms, Rotaries, Windows, gemma2};

/// The family.
pub(super) static GEMMA3: Blueprint = Blueprint {
    architectures: &[("Gemma3ForCausalLM", "gemma3_text")],
    norms: &[
        norm("input_layernorm", hidden),
        norm("post_attention_layernorm", hidden),
        norm("pre_feedforward_layernorm", hidden),
        norm("post_feedforward_layernorm", hidden),
        norm("self_attn.q_norm", head),
        norm("self_attn.k_norm", head),
    ],
    head_norms: Some(HeadNorms { q: 4, k: 5 }),
    fields: Fields {
        sizes: &[
            ("vocab_size", 262_208),
            ("num_attention_heads", 8),
            ("num_key_value_heads", 4),
        ],
        theta: 1e6,
        context: 131_072,
        windows: Windows::Pattern {
            every: 6,
            window: 4096,
        },
        rotaries: Rotaries::LocalInWindows,
        numbers: &[
            ("query_pre_attn_scalar", 256.0),
            ("attn_logit_softcapping", 0.0),
            ("final_logit_softcapping", 0.0),
        ],
        ..gemma2::FIELDS
    },
    ..gemma2::TWICE_NORMED
};
