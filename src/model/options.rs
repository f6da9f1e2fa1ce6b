//! How a model is loaded.

use super::{Config, Recipe};
use crate::backend::Backend;
use crate::ops::Kv;
use crate::ops::quantize::Activations;

/// How to load a model.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions {
    /// What to do with dense linear layers; ignored for folders that are packed already.
    pub recipe: Recipe,
    /// How activations enter linear layers.
    pub activations: Activations,
    /// Positions of the KV cache.
    pub context: usize,
    /// Most tokens processed at once.
    pub batch: usize,
    /// In what type keys and values are cached; `None`: as suits the device ([`crate::backend::DeviceFacts`]).
    pub kv: Option<Kv>,
    /// Whether layers with a window keep the keys and values of all positions, not only of those that later tokens may see:
    /// more memory, and sequences can be shortened to any length.
    pub swa_full: bool,
    /// Integer sums for any number of tokens: bits that depend neither on the device nor on what is processed together.
    /// Otherwise many tokens go through cooperative matrices where there are some.
    pub exact: bool,
}

/// In what type keys and values are cached.
pub(crate) fn kv<B: Backend>(backend: &B, c: &Config, options: &LoadOptions) -> Kv {
    let kv = options.kv.unwrap_or(backend.facts().kv);
    kv.for_heads(c.head_dim)
}
