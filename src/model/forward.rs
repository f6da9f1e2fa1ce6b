//! A model in device memory, and one pass of tokens through it.

use super::linear::{Linear, LinearScratch, Run, Shard};
use super::{Config, Recipe};
use crate::backend::{Backend, upload_new};
use crate::error::Result;
use crate::ops::Stored;
use crate::ops::activation::Activations;
use crate::ops::attention::{Attention, Heads, Rope};
use crate::ops::attention_split::{AttentionMerge, AttentionSplit};
use crate::ops::pointwise::{RmsNorm, SwiGlu, TokenEmbed};

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
}

/// One transformer block on a device.
pub(super) struct Block<B: Backend> {
    pub attention_norm: B::Buffer,
    pub qkv: Linear<B>,
    pub o: Linear<B>,
    pub mlp_norm: B::Buffer,
    pub gate_up: Linear<B>,
    pub down: Linear<B>,
}

/// Everything a model has in device memory.
pub(super) struct Parts<B: Backend> {
    pub embed: Vec<Shard<B>>,
    pub embed_stored: Stored,
    pub blocks: Vec<Block<B>>,
    pub norm: B::Buffer,
    pub head: Linear<B>,
}

/// Buffers of one forward pass, used by every layer in turn.
pub(super) struct Scratch<B: Backend> {
    pub ids: B::Buffer,
    /// Residual stream.
    pub x: B::Buffer,
    /// Normalized.
    h: B::Buffer,
    qkv: B::Buffer,
    attention: B::Buffer,
    /// Attention over ranges of positions, before they are merged.
    ranges: B::Buffer,
    gate_up: B::Buffer,
    activation: B::Buffer,
    /// The last token alone.
    pub last: B::Buffer,
    pub logits: B::Buffer,
    pub chosen: B::Buffer,
    pub chosen_logits: B::Buffer,
    linear: LinearScratch<B>,
}

/// A model on a backend.
pub struct Model<B: Backend> {
    pub(super) backend: B,
    pub(super) config: Config,
    pub(super) options: LoadOptions,
    pub(super) parts: Parts<B>,
    pub(super) scratch: Scratch<B>,
    rope: B::Buffer,
}

impl<B: Backend> Scratch<B> {
    fn new(backend: &B, c: &Config, options: &LoadOptions) -> Result<Self> {
        let rows = options.batch;
        let q = c.heads * c.head_dim;
        let widest = c.hidden.max(c.intermediate).max(q);
        Ok(Self {
            ids: backend.alloc("token ids", rows)?,
            x: backend.alloc("residual stream", rows * c.hidden)?,
            h: backend.alloc("normalized", rows * c.hidden)?,
            qkv: backend.alloc("q, k, v", rows * (q + 2 * c.kv_heads * c.head_dim))?,
            attention: backend.alloc("attention", rows * q)?,
            ranges: backend.alloc("attention ranges", AttentionSplit::most_words(c.head_dim))?,
            gate_up: backend.alloc("gate, up", rows * 2 * c.intermediate)?,
            activation: backend.alloc("MLP activation", rows * c.intermediate)?,
            last: backend.alloc("last token", c.hidden)?,
            logits: backend.alloc("logits", c.vocab)?,
            chosen: backend.alloc("chosen ids", super::session::MAX_TOP_K)?,
            chosen_logits: backend.alloc("chosen logits", super::session::MAX_TOP_K)?,
            linear: LinearScratch::new(backend, rows, widest, options.activations)?,
        })
    }
}

impl<B: Backend> Model<B> {
    pub(super) fn from_parts(
        backend: B,
        config: &Config,
        options: LoadOptions,
        parts: Parts<B>,
    ) -> Result<Self> {
        let table = super::rope::table(&config.rope, config.head_dim, options.context);
        let rope = upload_new(&backend, "rope table", bytemuck::cast_slice(&table))?;
        let scratch = Scratch::new(&backend, config, &options)?;
        Ok(Self {
            rope,
            scratch,
            config: config.clone(),
            options,
            parts,
            backend,
        })
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

    /// Bytes that one generated token reads: all linear weights.
    pub fn bytes_per_token(&self) -> usize {
        let blocks = self.parts.blocks.iter();
        let each = |b: &Block<B>| b.qkv.bytes() + b.o.bytes() + b.gate_up.bytes() + b.down.bytes();
        blocks.map(each).sum::<usize>() + self.parts.head.bytes()
    }

    pub(super) async fn embed(&self, rows: usize) -> Result<()> {
        self.backend.at(&|| "token embedding".to_owned());
        for shard in &self.parts.embed {
            let embed = TokenEmbed {
                rows,
                hidden: self.config.hidden,
                stored: self.parts.embed_stored,
                row_words: self.parts.embed_stored.words(self.config.hidden),
                first_row: shard.first,
                table_rows: shard.rows,
            };
            let s = &self.scratch;
            self.backend
                .run(&embed, &[&shard.buffer, &s.ids, &s.x])
                .await?;
        }
        Ok(())
    }

    async fn norm(
        &self,
        rows: usize,
        x: &B::Buffer,
        weight: &B::Buffer,
        y: &B::Buffer,
    ) -> Result<()> {
        let norm = RmsNorm {
            rows,
            n: self.config.hidden,
            eps: self.config.norm_eps,
        };
        self.backend.run(&norm, &[x, weight, y]).await
    }

    async fn linear(
        &self,
        linear: &Linear<B>,
        x: &B::Buffer,
        y: &B::Buffer,
        rows: usize,
        accumulate: bool,
    ) -> Result<()> {
        let run = Run {
            rows,
            accumulate,
            activations: self.options.activations,
        };
        let scratch = &self.scratch.linear;
        linear.apply(&self.backend, scratch, x, y, run).await
    }

    /// One block, adding to the residual stream.
    pub(super) async fn block(
        &self,
        block: &Block<B>,
        caches: &(B::Buffer, B::Buffer),
        rows: usize,
        position: usize,
    ) -> Result<()> {
        let (c, s) = (&self.config, &self.scratch);
        self.norm(rows, &s.x, &block.attention_norm, &s.h).await?;
        self.linear(&block.qkv, &s.h, &s.qkv, rows, false).await?;
        let heads = Heads {
            rows,
            heads: c.heads,
            kv_heads: c.kv_heads,
            head_dim: c.head_dim,
            position,
        };
        let (k, v) = caches;
        let rope = Rope(heads);
        self.backend.run(&rope, &[&s.qkv, &self.rope, k, v]).await?;
        self.attend(heads, caches).await?;
        self.linear(&block.o, &s.attention, &s.x, rows, true)
            .await?;
        self.norm(rows, &s.x, &block.mlp_norm, &s.h).await?;
        self.linear(&block.gate_up, &s.h, &s.gate_up, rows, false)
            .await?;
        let n = c.intermediate;
        self.backend
            .run(&SwiGlu { rows, n }, &[&s.gate_up, &s.activation])
            .await?;
        self.linear(&block.down, &s.activation, &s.x, rows, true)
            .await
    }

    /// Attention over the cache: over ranges of it in parallel where rows alone would not fill the device.
    async fn attend(&self, heads: Heads, (k, v): &(B::Buffer, B::Buffer)) -> Result<()> {
        let s = &self.scratch;
        let splits = heads.splits();
        if splits == 1 {
            let buffers = [&s.qkv, k, v, &s.attention];
            return self.backend.run(&Attention(heads), &buffers).await;
        }
        let split = AttentionSplit { heads, splits };
        let buffers = [&s.qkv, k, v, &s.ranges];
        self.backend.run(&split, &buffers).await?;
        let merge = AttentionMerge { heads, splits };
        self.backend.run(&merge, &[&s.ranges, &s.attention]).await
    }

    /// Copies row `row` of the residual stream to `scratch.last`: an embedding whose table is the stream.
    pub(super) async fn take_row(&self, row: usize) -> Result<()> {
        let s = &self.scratch;
        self.backend.upload(&s.ids, 0, &[row as u32])?;
        let take = TokenEmbed {
            rows: 1,
            hidden: self.config.hidden,
            stored: Stored::F32,
            row_words: self.config.hidden,
            first_row: 0,
            table_rows: row + 1,
        };
        self.backend.run(&take, &[&s.x, &s.ids, &s.last]).await
    }

    /// Logits of the `rows` tokens in `x`, into `logits`.
    pub(super) async fn head(&self, x: &B::Buffer, rows: usize, logits: &B::Buffer) -> Result<()> {
        let s = &self.scratch;
        self.backend.at(&|| "final norm".to_owned());
        self.norm(rows, x, &self.parts.norm, &s.h).await?;
        self.linear(&self.parts.head, &s.h, logits, rows, false)
            .await
    }
}
