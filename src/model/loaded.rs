//! A model in device memory: its weights, and the buffers of a pass.

use super::Config;
use super::blueprint::Output;
use super::budget::product;
use super::forward::{ExpertWeights, MixtureScratch};
use super::linear::{Linear, LinearScratch, tile_rows};
use super::options::{LoadOptions, kv};
use super::pipeline::Pipeline;
use super::ropes::Ropes;
use super::rows::Shard;
use crate::backend::Backend;
use crate::error::Result;
use crate::ops::{Kv, MatrixDtype};

/// One transformer block on a device: the norms and stacks of its [`Blueprint`](super::blueprint::Blueprint), in the same
/// order.
pub(crate) struct Block<B: Backend> {
    pub norms: Vec<B::Buffer>,
    pub stacks: Vec<Linear<B>>,
    /// What takes the place of the last two stacks, where that is a mixture of experts.
    pub experts: Option<ExpertWeights<B>>,
}

/// All weights of a model in device memory.
pub(crate) struct DeviceWeights<B: Backend> {
    /// The embedding, in shards of whole rows.
    pub embed: Vec<Shard<B>>,
    pub embed_dtype: MatrixDtype,
    pub blocks: Vec<Block<B>>,
    /// The norm before the head.
    pub norm: B::Buffer,
    pub head: Linear<B>,
}

/// Buffers of one forward pass, used by every block in turn; each has room for the tokens of a batch.
pub(crate) struct Scratch<B: Backend> {
    pub ids: B::Buffer,
    /// The residual stream, [tokens, hidden].
    pub x: B::Buffer,
    /// Queries, keys and values beside each other: outputs of the stack before attention.
    pub qkv: B::Buffer,
    /// What attention gives.
    pub attention: B::Buffer,
    /// What the gated activation gives.
    pub activation: B::Buffer,
    /// What is added to the residual stream, where it is normalized or multiplied before.
    pub branch: B::Buffer,
    /// The residual stream less its mean, where norms read that.
    pub centered: B::Buffer,
    /// The residual stream of the last token alone.
    pub last: B::Buffer,
    pub linear: LinearScratch<B>,
    /// For a mixture of experts.
    pub mixture: Option<MixtureScratch<B>>,
}

/// A model on a backend.
pub struct Model<B: Backend> {
    pub(crate) backend: B,
    pub(crate) config: Config,
    pub(crate) options: LoadOptions,
    pub(crate) weights: DeviceWeights<B>,
    pub(crate) scratch: Scratch<B>,
    pub(crate) kv: Kv,
    pub(crate) ropes: Ropes<B>,
    /// The ranks that have the other layers.
    pub(crate) pipeline: Option<Pipeline>,
}

/// Words of the buffers of [`Scratch`] beside [`LinearScratch`], in their order.
pub(crate) fn scratch_words<B: Backend>(
    backend: &B,
    c: &Config,
    options: &LoadOptions,
) -> [usize; 8] {
    let rows = tile_rows(backend, options.batch, options.exact);
    [
        rows,
        product(&[rows, c.hidden]),
        product(&[rows, c.outputs(Output::Attention)]),
        product(&[rows, c.queries()]),
        product(&[rows, c.widest_gate()]),
        match c.adds_branches() {
            true => product(&[rows, c.hidden]),
            false => 0,
        },
        match c.blueprint().centered {
            true => product(&[rows, c.hidden]),
            false => 0,
        },
        c.hidden,
    ]
}

impl<B: Backend> Scratch<B> {
    fn new(backend: &B, c: &Config, options: &LoadOptions) -> Result<Self> {
        let [ids, x, qkv, attention, activation, branch, centered, last] =
            scratch_words(backend, c, options);
        Ok(Self {
            ids: backend.alloc("token ids", ids)?,
            x: backend.alloc("residual stream", x)?,
            qkv: backend.alloc("q, k, v", qkv)?,
            attention: backend.alloc("attention", attention)?,
            activation: backend.alloc("MLP activation", activation)?,
            branch: backend.alloc("addition to the stream", branch)?,
            centered: backend.alloc("centered stream", centered)?,
            last: backend.alloc("last token", last)?,
            linear: LinearScratch::new(backend, c, options, &backend.facts().tuning)?,
            mixture: MixtureScratch::new(backend, c, options)?,
        })
    }
}

impl<B: Backend> Model<B> {
    pub(crate) fn from_weights(
        backend: B,
        config: &Config,
        options: LoadOptions,
        weights: DeviceWeights<B>,
    ) -> Result<Self> {
        Ok(Self {
            ropes: Ropes::new(&backend, config, options.context)?,
            kv: kv(&backend, config, &options),
            scratch: Scratch::new(&backend, config, &options)?,
            config: config.clone(),
            options,
            weights,
            backend,
            pipeline: None,
        })
    }

    /// The same where other ranks have the other layers.
    pub(crate) fn among(self, pipeline: Option<Pipeline>) -> Self {
        Self { pipeline, ..self }
    }

    /// The backend it lives on.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How it was loaded.
    pub fn options(&self) -> &LoadOptions {
        &self.options
    }

    /// Whether it does not matter to what follows if tokens came as a prompt or were decoded: always where exact sums are not
    /// promised, and else where the device takes the same kernels for both.
    pub fn decodes_as_prompts(&self) -> bool {
        !self.options.exact || self.attends_alike()
    }

    /// Bytes that one generated token reads: all linear weights, of experts those of as many as a token runs through.
    pub fn bytes_per_token(&self) -> usize {
        let stacks = self.weights.blocks.iter().flat_map(|block| &block.stacks);
        let all = stacks.chain([&self.weights.head]);
        let dense: usize = all.map(Linear::bytes).sum();
        let experts = self
            .weights
            .blocks
            .iter()
            .filter_map(|b| b.experts.as_ref());
        let chosen = self.config.variant.experts.as_ref().map_or(0, |e| e.chosen);
        let bytes = |one: &[Linear<B>; 2]| one.iter().map(Linear::bytes).sum::<usize>();
        let mixtures = experts.map(|experts| {
            experts.router.bytes() + chosen * experts.layers.first().map_or(0, bytes)
        });
        dense + mixtures.sum::<usize>()
    }

    /// Bytes of the KV cache that a token reads which is one of `positions`, all layers together: a window hides what lies
    /// before it.
    pub fn cache_bytes_read(&self, positions: f64) -> f64 {
        let position = 2 * self.kv.bytes() * self.config.kv_heads * self.config.head_dim;
        let window = |layer| self.config.attention(layer).window as f64;
        let seen = (0..self.config.layers).map(|layer| positions.min(window(layer)));
        position as f64 * seen.sum::<f64>()
    }
}
