//! A model in device memory, and one pass of tokens through it.

use super::linear::{Input, Linear, LinearScratch, Run, tile_rows};
use super::memory::product;
use super::rows::Shard;
use super::tap::{Stack, Tap, Tapped};
use super::{Config, Recipe};
use crate::backend::{Backend, Fill};
use crate::error::Result;
use crate::ops::embedding::TokenEmbed;
use crate::ops::quantize::Activations;
use crate::ops::{Kv, MatrixDtype};

mod attend;

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
    /// How keys and values are kept; `None`: as suits the device ([`crate::backend::DeviceFacts`]).
    pub kv: Option<Kv>,
    /// Integer sums for any number of tokens: bits that depend neither on the device nor on what is processed together.
    /// Otherwise many tokens go through cooperative matrices where there are some.
    pub exact: bool,
}

/// Whose tokens the rows of a step are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text<'a> {
    /// Consecutive tokens of the text with this index.
    One(usize),
    /// The next token of each text.
    Each,
    /// Consecutive tokens of the first text, each as if it were a step of its own: the bits are those of decoding them one
    /// after the other.
    Steps,
    /// Runs of tokens that follow each other in the step, all of them in the cache of the first text.
    Spans(&'a [Span]),
}

/// Consecutive tokens of a sequence, among others of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Position of the first one.
    pub position: usize,
    /// How many.
    pub rows: usize,
}

/// What attention of one layer works with.
pub(crate) struct Cache<'a, B: Backend> {
    pub k: &'a B::Buffer,
    pub v: &'a B::Buffer,
    /// Room for ranges of positions, before they are merged.
    pub ranges: &'a B::Buffer,
    /// Positions that `k` and `v` have for each text.
    pub context: usize,
}

/// One transformer block on a device.
pub(crate) struct Block<B: Backend> {
    pub attention_norm: B::Buffer,
    pub qkv: Linear<B>,
    pub o: Linear<B>,
    pub mlp_norm: B::Buffer,
    pub gate_up: Linear<B>,
    pub down: Linear<B>,
}

/// Everything a model has in device memory.
pub(crate) struct Parts<B: Backend> {
    pub embed: Vec<Shard<B>>,
    pub embed_stored: MatrixDtype,
    pub blocks: Vec<Block<B>>,
    pub norm: B::Buffer,
    pub head: Linear<B>,
}

/// Buffers of one forward pass, used by every layer in turn.
pub(crate) struct Scratch<B: Backend> {
    pub ids: B::Buffer,
    /// Residual stream.
    pub x: B::Buffer,
    pub qkv: B::Buffer,
    pub attention: B::Buffer,
    pub activation: B::Buffer,
    /// The last token alone.
    pub last: B::Buffer,
    pub linear: LinearScratch<B>,
}

/// A model on a backend.
pub struct Model<B: Backend> {
    pub(crate) backend: B,
    pub(crate) config: Config,
    pub(crate) options: LoadOptions,
    pub(crate) parts: Parts<B>,
    pub(crate) scratch: Scratch<B>,
    pub(crate) kv: Kv,
    rope: B::Buffer,
}

/// Words of the buffers of [`Scratch`] beside [`LinearScratch`], in their order.
pub(crate) fn scratch_words<B: Backend>(
    backend: &B,
    c: &Config,
    options: &LoadOptions,
) -> [usize; 6] {
    let rows = tile_rows(backend, options.batch, options.exact);
    let q = c.heads * c.head_dim;
    let qkv = q + 2 * c.kv_heads * c.head_dim;
    [
        rows,
        product(&[rows, c.hidden]),
        product(&[rows, qkv]),
        product(&[rows, q]),
        product(&[rows, c.intermediate]),
        c.hidden,
    ]
}

/// How keys and values are kept.
pub(crate) fn kv<B: Backend>(backend: &B, c: &Config, options: &LoadOptions) -> Kv {
    let kv = options.kv.unwrap_or(backend.facts().kv);
    kv.for_heads(c.head_dim)
}

impl<B: Backend> Scratch<B> {
    fn new(backend: &B, c: &Config, options: &LoadOptions) -> Result<Self> {
        let [ids, x, qkv, attention, activation, last] = scratch_words(backend, c, options);
        Ok(Self {
            ids: backend.alloc("token ids", ids)?,
            x: backend.alloc("residual stream", x)?,
            qkv: backend.alloc("q, k, v", qkv)?,
            attention: backend.alloc("attention", attention)?,
            activation: backend.alloc("MLP activation", activation)?,
            last: backend.alloc("last token", last)?,
            linear: LinearScratch::new(backend, c, options)?,
        })
    }
}

/// The rotary table on the device, which never lies on the host as a whole.
fn rope_table<B: Backend>(backend: &B, c: &Config, context: usize) -> Result<B::Buffer> {
    let frequencies = super::rope::frequencies(&c.rope, c.head_dim);
    let write = |first: usize, words: &mut [u32]| {
        super::rope::write(&frequencies, first, bytemuck::cast_slice_mut(words));
    };
    let rows = Fill::new(context, 2 * frequencies.len(), &write);
    let table = backend.alloc("rope table", rows.words())?;
    backend.upload_with(&table, 0, &rows)?;
    Ok(table)
}

impl<B: Backend> Model<B> {
    pub(crate) fn from_parts(
        backend: B,
        config: &Config,
        options: LoadOptions,
        parts: Parts<B>,
    ) -> Result<Self> {
        Ok(Self {
            rope: rope_table(&backend, config, options.context)?,
            kv: kv(&backend, config, &options),
            scratch: Scratch::new(&backend, config, &options)?,
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

    /// Bytes that the KV cache of one text holds for one position, all layers together.
    pub fn cache_bytes_per_position(&self) -> usize {
        2 * self.kv.bytes() * self.config.layers * self.config.kv_heads * self.config.head_dim
    }

    /// Embeddings of the ids `from..from + rows` in `ids`.
    pub(crate) async fn embed(&self, ids: &B::Buffer, from: usize, rows: usize) -> Result<()> {
        self.backend.scope(&|| "token embedding".to_owned());
        for shard in &self.parts.embed {
            let embed = TokenEmbed {
                rows,
                hidden: self.config.hidden,
                stored: self.parts.embed_stored,
                row_words: self.parts.embed_stored.words(self.config.hidden),
                first_row: shard.first,
                table_rows: shard.rows,
                ids_from: from,
            };
            let buffers = [&shard.buffer, ids, &self.scratch.x];
            self.backend.run(&embed, &buffers).await?;
        }
        Ok(())
    }

    /// What a layer reads: `x` as it is, or normalized with `weight`.
    pub(crate) fn input<'a>(
        &self,
        x: &'a B::Buffer,
        weight: Option<&'a B::Buffer>,
    ) -> Input<'a, B> {
        let norm = weight.map(|w| (w, self.config.norm_eps));
        let known = 0;
        Input { x, norm, known }
    }

    pub(crate) async fn linear(
        &self,
        linear: &Linear<B>,
        input: Input<'_, B>,
        y: &B::Buffer,
        rows: usize,
        accumulate: bool,
    ) -> Result<()> {
        let run = self.run(rows, accumulate);
        let scratch = &self.scratch.linear;
        linear.apply(&self.backend, scratch, input, y, run).await
    }

    pub(crate) fn run(&self, rows: usize, accumulate: bool) -> Run {
        Run {
            rows,
            accumulate,
            activations: self.options.activations,
            exact: self.options.exact,
        }
    }

    /// Block number `index`, adding to the residual stream.
    pub(crate) async fn block(
        &self,
        index: usize,
        cache: Cache<'_, B>,
        rows: usize,
        position: usize,
        text: Text<'_>,
        tap: &mut impl Tap<B>,
    ) -> Result<()> {
        let (s, block) = (&self.scratch, &self.parts.blocks[index]);
        let l = Some(index);
        let input = self.input(&s.x, Some(&block.attention_norm));
        tap.before(self.tapped(l, Stack::Qkv, &input, rows)).await?;
        self.linear(&block.qkv, input, &s.qkv, rows, false).await?;
        self.attend(&cache, rows, position, text).await?;
        let attention = self.input(&s.attention, None);
        tap.before(self.tapped(l, Stack::O, &attention, rows))
            .await?;
        self.linear(&block.o, attention, &s.x, rows, true).await?;
        let input = self.input(&s.x, Some(&block.mlp_norm));
        tap.before(self.tapped(l, Stack::GateUp, &input, rows))
            .await?;
        let (gate_up, run) = (&block.gate_up, self.run(rows, false));
        let known = gate_up
            .apply_swiglu(&self.backend, &s.linear, input, &s.activation, run)
            .await?;
        let activation = Input {
            known,
            ..self.input(&s.activation, None)
        };
        tap.before(self.tapped(l, Stack::Down, &activation, rows))
            .await?;
        self.linear(&block.down, activation, &s.x, rows, true).await
    }

    /// What a tap is shown of a stack with this input.
    fn tapped<'a>(
        &'a self,
        block: Option<usize>,
        stack: Stack,
        input: &Input<'a, B>,
        rows: usize,
    ) -> Tapped<'a, B> {
        Tapped {
            model: self,
            block,
            stack,
            rows,
            x: input.x,
            norm: input.norm,
        }
    }

    /// Copies row `row` of the residual stream to `scratch.last`.
    pub(crate) async fn take_row(&self, row: usize) -> Result<()> {
        self.take_rows(&[row as u32], &self.scratch.last).await
    }

    /// Copies rows of the residual stream to `to`, in this order: an embedding whose table is the stream.
    pub(crate) async fn take_rows(&self, rows: &[u32], to: &B::Buffer) -> Result<()> {
        let s = &self.scratch;
        self.backend.upload(&s.ids, 0, rows)?;
        let take = TokenEmbed {
            rows: rows.len(),
            hidden: self.config.hidden,
            stored: MatrixDtype::F32,
            row_words: self.config.hidden,
            first_row: 0,
            table_rows: rows.iter().max().map_or(0, |&row| row as usize + 1),
            ids_from: 0,
        };
        self.backend.run(&take, &[&s.x, &s.ids, to]).await
    }

    /// Logits of the `rows` tokens in `x`, into `logits`.
    pub(crate) async fn head(&self, x: &B::Buffer, rows: usize, logits: &B::Buffer) -> Result<()> {
        self.backend.scope(&|| "final norm".to_owned());
        let input = self.input(x, Some(&self.parts.norm));
        self.linear(&self.parts.head, input, logits, rows, false)
            .await
    }

    /// Shows `tap` what the head would read of the `rows` tokens in `x`.
    pub(crate) async fn tap_head(
        &self,
        x: &B::Buffer,
        rows: usize,
        tap: &mut impl Tap<B>,
    ) -> Result<()> {
        let input = self.input(x, Some(&self.parts.norm));
        tap.before(self.tapped(None, Stack::Head, &input, rows))
            .await
    }
}
