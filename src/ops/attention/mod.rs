//! Rotary embedding and causal attention over a KV cache.
//!
//! Heads lie side by side in a row: `[q heads | k heads | v heads]` in `qkv`, `[kv heads]` in a row of a cache. Query head
//! `h` attends to key/value head `h / (heads / kv_heads)`.
//!
//! Caches have slots, one for each sequence. Every token has a slot and a position there, and attends to the positions of
//! its slot up to its own ([`Positions`]): one dispatch serves the next tokens of sequences of any lengths. Slots are rings: what
//! a window has left behind may be overwritten.

#[allow(clippy::module_inception)] // the op is called as its wing is
mod attention;
mod attention_coop;
mod attention_merge;
mod attention_split;
mod attention_step;
mod caches;
mod cases;
mod heads;
mod host;
mod kv;
mod rope;
mod rotation;

pub use attention::*;
pub use attention_coop::*;
pub use attention_merge::*;
pub use attention_split::*;
pub use attention_step::*;
pub(in crate::ops) use cases::noise_angles;
pub use heads::*;
pub use kv::Kv;
pub use rope::*;
pub use rotation::{Pairs, Rotation};
