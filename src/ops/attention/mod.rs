//! Rotary embedding and causal attention over a KV cache.
//!
//! Heads lie side by side in a row: `[q heads | k heads | v heads]` in `qkv`, `[kv heads]` in a cache row. Query head
//! `h` attends to key/value head `h / (heads / kv_heads)`.

#[allow(clippy::module_inception)] // the op is called as its wing is
mod attention;
mod attention_coop;
mod attention_split;
mod attention_step;
mod kv;
mod rope;

pub use attention::*;
pub use attention_coop::*;
pub use attention_split::*;
pub use attention_step::*;
pub use kv::Kv;
pub use rope::*;
