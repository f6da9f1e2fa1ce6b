//! The calibration text on its way through the blocks: the residual streams of the full-precision model and of the one
//! whose blocks so far are quantized, side by side.

use super::moments::{Moments, Scratch, copy};
use crate::backend::{Backend, upload_new};
use crate::error::Result;
use crate::model::blueprint::{Input, Output, Stack};
use crate::model::forward::{Cache, Span, Tokens};
use crate::model::kv_cache::layer_words;
use crate::model::linear::{Linear, tile_rows};
use crate::model::load::Loader;
use crate::model::loaded::{Block, DeviceWeights, Model};
use crate::model::options::LoadOptions;
use crate::ops::attention::AttentionSplit;
use crate::ops::norm::RmsNorm;
use crate::ops::quantize::Hadamard;

/// Sequences that go through a block together.
struct Batch<B: Backend> {
    spans: Vec<Span>,
    rows: usize,
    /// Residual streams of the full-precision model and of the quantized one.
    streams: [B::Buffer; 2],
    /// What enters a stack that adds to the stream of the quantized model, where there is room to keep it until the stack
    /// is quantized.
    cached: Option<B::Buffer>,
}

/// A block in full precision, and its first stacks, which are quantized so far.
pub(super) type Both<'b, 'a, B> = (&'b Block<&'a B>, &'b [Linear<&'a B>]);

/// Layers whose inputs are looked at.
pub(super) enum Reads<'b, 'a, B: Backend> {
    /// A stack of a block, by its index.
    Stack(usize, Both<'b, 'a, B>),
    /// The head.
    Head,
}

impl<B: Backend> Clone for Reads<'_, '_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Reads<'_, '_, B> {}

impl<'b, 'a, B: Backend> Reads<'b, 'a, B> {
    /// Stack `index` of the block `full`, whose first stacks are quantized: those are `made`.
    pub(super) fn stack(index: usize, full: &'b Block<&'a B>, made: &'b [Linear<&'a B>]) -> Self {
        Self::Stack(index, (full, made))
    }
}

/// Everything that runs over the text.
pub(super) struct Streams<'a, B: Backend> {
    /// Buffers of one pass, without blocks of its own.
    model: Model<&'a B>,
    keys: B::Buffer,
    values: B::Buffer,
    partials: B::Buffer,
    /// A row table that nothing reads, because the sequences are runs.
    rows: B::Buffer,
    batches: Vec<Batch<B>>,
    /// What enters a stack in both models; the widest of all stacks.
    inputs: [B::Buffer; 2],
    /// The same rotated, where layers are quantized for rotated inputs.
    rotated_inputs: Option<[B::Buffer; 2]>,
    scratch: Scratch<B>,
    /// Whether there is room for [`Batch::cached`] of all batches.
    caches: bool,
    /// The block that the text is in.
    pub(super) layer: usize,
}

/// Share of the device's memory that cached inputs may take.
const CACHED: f64 = 0.25;

impl<'a, B: Backend> Streams<'a, B> {
    /// Embeds the sequences, of `options.context` tokens at most, `options.batch` tokens at a time.
    pub(super) async fn new(
        loader: &Loader<'_, &'a B>,
        sequences: &[Vec<u32>],
        options: LoadOptions,
        rotated: bool,
    ) -> Result<Self> {
        let (backend, c) = (*loader.backend, loader.config);
        let (embed, embed_dtype) = loader.embedding()?;
        let weights = DeviceWeights {
            embed,
            embed_dtype,
            blocks: Vec::new(),
            norm: loader.norm(&loader.config.norm_name())?,
            head: Linear::dense(&backend, "none".into(), c.hidden, embed_dtype, &[])?,
        };
        let model = Model::from_weights(backend, c, options, weights)?;
        let cache = layer_words(c, model.kv, 1, options.context);
        let ranges = backend.facts().tuning.ranges;
        let widest = c.widest_input();
        let wide = |label| backend.alloc(label, options.batch * widest);
        let tokens = sequences.iter().map(Vec::len).sum::<usize>();
        let mut streams = Self {
            keys: backend.alloc("K cache", cache)?,
            values: backend.alloc("V cache", cache)?,
            partials: backend.alloc(
                "attention ranges",
                AttentionSplit::most_words(1, c.head_dim, ranges),
            )?,
            rows: backend.alloc("row table", 2)?,
            batches: Vec::new(),
            inputs: [wide("full-precision inputs")?, wide("inputs")?],
            rotated_inputs: match rotated {
                true => Some([
                    wide("rotated full-precision inputs")?,
                    wide("rotated inputs")?,
                ]),
                false => None,
            },
            scratch: Scratch::new(backend, options.batch * widest)?,
            layer: 0,
            caches: backend
                .available()
                .is_none_or(|bytes| 4.0 * (tokens * widest) as f64 <= CACHED * bytes as f64),
            model,
        };
        let mut rest = sequences;
        while !rest.is_empty() {
            rest = streams.embed(rest).await?;
        }
        Ok(streams)
    }

    /// Embeds as many sequences as fit one batch; returns the others.
    async fn embed<'s>(&mut self, sequences: &'s [Vec<u32>]) -> Result<&'s [Vec<u32>]> {
        let m = &self.model;
        let (mut spans, mut ids) = (Vec::new(), Vec::new());
        for sequence in sequences {
            if !ids.is_empty() && ids.len() + sequence.len() > m.options.batch {
                break;
            }
            spans.push(Span {
                position: 0,
                tokens: sequence.len(),
            });
            ids.extend_from_slice(sequence);
        }
        let (rows, hidden) = (ids.len(), m.config.hidden);
        let room = tile_rows(&m.backend, rows, m.options.exact) * hidden;
        let ids = upload_new(&m.backend, "token ids", &ids)?;
        m.embed(&ids, 0, rows).await?;
        let stream = || m.backend.alloc("residual stream", room);
        let streams = [stream()?, stream()?];
        for stream in &streams {
            copy(m.backend, rows * hidden, &m.scratch.x, stream).await?;
        }
        let count = spans.len();
        let adding = m.config.blueprint().stacks.iter();
        let adding = adding.filter(|stack| stack.output == Output::Residual);
        let widths = adding.map(|stack| (stack.inputs)(&m.config));
        let widest = widths.max().unwrap_or(0);
        let cache = || m.backend.alloc("cached inputs", rows * widest);
        self.batches.push(Batch {
            cached: self.caches.then(cache).transpose()?,
            spans,
            rows,
            streams,
        });
        Ok(&sequences[count..])
    }

    /// Moments of what enters a stack. The full-precision stream goes on by what the stack adds to it.
    pub(super) async fn moments(&self, reads: Reads<'_, 'a, B>) -> Result<Moments<B>> {
        let (backend, c) = (self.model.backend, &self.model.config);
        let columns = self.columns(reads);
        // What a norm or a factor still changes does not add to the stream as it is.
        let plain = !c.adds_branches();
        let linear = match reads {
            Reads::Stack(i, (full, _)) if plain && self.stack(i).output == Output::Residual => {
                Some(&full.stacks[i])
            }
            Reads::Stack(..) | Reads::Head => None,
        };
        let moments = Moments::new(backend, columns, linear.map(|_| c.hidden))?;
        for batch in &self.batches {
            for which in [0, 1] {
                self.input(reads, which, batch).await?;
            }
            let [full, quantized] = &self.inputs;
            let [full_stream, stream] = &batch.streams;
            let inputs = self.rotate(batch.rows, columns).await?;
            let streams = (full_stream, stream);
            moments
                .add(backend, batch.rows, inputs, streams, &self.scratch)
                .await?;
            if let Some(linear) = linear {
                self.add((linear, None), full, full_stream, batch.rows)
                    .await?;
                if let Some(cached) = &batch.cached {
                    copy(backend, batch.rows * columns, quantized, cached).await?;
                }
            }
        }
        Ok(moments)
    }

    /// The description of stack `i` of a block.
    fn stack(&self, i: usize) -> &'static Stack {
        &self.model.config.blueprint().stacks[i]
    }

    /// Columns of what enters a stack.
    fn columns(&self, reads: Reads<'_, 'a, B>) -> usize {
        match reads {
            Reads::Stack(i, _) => (self.stack(i).inputs)(&self.model.config),
            Reads::Head => self.model.config.hidden,
        }
    }

    /// The inputs of both models as quantized layers read them: rotated, if they are.
    async fn rotate(&self, rows: usize, width: usize) -> Result<(&B::Buffer, &B::Buffer)> {
        let Some(rotated_inputs) = &self.rotated_inputs else {
            let [full, quantized] = &self.inputs;
            return Ok((full, quantized));
        };
        let back = false;
        let rotation = Hadamard {
            rows,
            width,
            inverse: back,
        };
        for (src, dst) in self.inputs.iter().zip(rotated_inputs) {
            self.model.backend.run(&rotation, &[src, dst]).await?;
        }
        let [full, quantized] = rotated_inputs;
        Ok((full, quantized))
    }

    /// Adds what a layer makes of its input to a stream, through a norm if there is one.
    async fn add(
        &self,
        (linear, after): (&Linear<&'a B>, Option<&B::Buffer>),
        x: &B::Buffer,
        stream: &B::Buffer,
        rows: usize,
    ) -> Result<()> {
        let input = self.model.input(x, None);
        self.model.add(linear, after, input, stream, rows).await
    }

    /// What enters a stack in the full-precision model (`which` is 0) or the quantized one (1), into that model's buffer of
    /// inputs.
    async fn input(&self, reads: Reads<'_, 'a, B>, which: usize, batch: &Batch<B>) -> Result<()> {
        let (m, rows) = (&self.model, batch.rows);
        let (stream, dst) = (&batch.streams[which], &self.inputs[which]);
        let Reads::Stack(i, (full, made)) = reads else {
            return self
                .normalize(reads, (stream, true), &m.weights.norm, rows, dst)
                .await;
        };
        let stack = self.stack(i);
        let src = match stack.input {
            Input::Residual => stream,
            Input::Attention => &m.scratch.attention,
            Input::Activation => &m.scratch.activation,
        };
        if stack.input != Input::Residual {
            self.run_before(i, (full, made), which, batch).await?;
        }
        match stack.norm {
            Some(norm) => {
                let src = (src, stack.input == Input::Residual);
                self.normalize(reads, src, &full.norms[norm], rows, dst)
                    .await
            }
            None => copy(m.backend, rows * self.columns(reads), src, dst).await,
        }
    }

    /// Runs the stack before stack `i`, which reads what becomes of its outputs.
    async fn run_before(
        &self,
        i: usize,
        (full, made): Both<'_, 'a, B>,
        which: usize,
        batch: &Batch<B>,
    ) -> Result<()> {
        let (m, rows) = (&self.model, batch.rows);
        let Some(before) = i.checked_sub(1) else {
            return Ok(());
        };
        let stack = self.stack(before);
        let linear = chosen(which, before, (full, made));
        let norm = stack.norm.map(|norm| &full.norms[norm]);
        let x = m.center(&batch.streams[which], rows).await?;
        let input = m.input(x, norm);
        match stack.output {
            Output::Attention => {
                m.linear(linear, input, &m.scratch.qkv, rows, false).await?;
                self.attend(full, batch).await
            }
            Output::Gated => m.gated(linear, input, rows).await.map(|_| ()),
            Output::Residual => Ok(()),
        }
    }

    async fn normalize(
        &self,
        reads: Reads<'_, 'a, B>,
        (x, stream): (&B::Buffer, bool),
        weight: &B::Buffer,
        rows: usize,
        dst: &B::Buffer,
    ) -> Result<()> {
        let norm = RmsNorm {
            tokens: rows,
            n: self.columns(reads),
            rms: self.model.config.rms(),
            accumulate: false,
        };
        let x = match stream {
            true => self.model.center(x, rows).await?,
            false => x,
        };
        let buffers = [x, weight, dst];
        self.model.backend.run(&norm, &buffers).await
    }

    /// Attention of a batch, each sequence by itself.
    async fn attend(&self, block: &Block<&'a B>, batch: &Batch<B>) -> Result<()> {
        let m = &self.model;
        let cache = Cache {
            layer: self.layer,
            norms: None, // the block knows them
            k: &self.keys,
            v: &self.values,
            partials: &self.partials,
            rows: &self.rows,
            slots: 1,
            capacity: m.options.context,
        };
        let tokens = Tokens::Spans(&batch.spans);
        m.attention(block, &cache, batch.rows, tokens).await
    }

    /// Adds what stack `i` of a block makes of its input to the quantized stream, if it adds to that; also to the
    /// full-precision one where [`Streams::moments`] has not done so.
    pub(super) async fn advance(
        &self,
        i: usize,
        (full, made): Both<'_, 'a, B>,
        measured: bool,
    ) -> Result<()> {
        let stack = self.stack(i);
        if stack.output != Output::Residual {
            return Ok(());
        }
        let after = stack.after.map(|norm| &full.norms[norm]);
        let measured = measured && !self.model.config.adds_branches();
        for batch in &self.batches {
            for which in [0, 1] {
                let stream = &batch.streams[which];
                let linear = chosen(which, i, (full, made));
                match (which, measured, &batch.cached) {
                    (0, true, _) => {}
                    (1, true, Some(cached)) => {
                        let linear = (linear, after);
                        self.add(linear, cached, stream, batch.rows).await?;
                    }
                    _ => {
                        let reads = Reads::stack(i, full, made);
                        self.input(reads, which, batch).await?;
                        let input = &self.inputs[which];
                        let linear = (linear, after);
                        self.add(linear, input, stream, batch.rows).await?;
                    }
                }
            }
        }
        self.model.backend.flush()
    }
}

/// Stack `i` of the full-precision model (`which` is 0), or of the quantized one, if it is quantized already.
fn chosen<'b, 'a, B: Backend>(
    which: usize,
    i: usize,
    (full, made): Both<'b, 'a, B>,
) -> &'b Linear<&'a B> {
    match (which, made.get(i)) {
        (1, Some(quantized)) => quantized,
        _ => &full.stacks[i],
    }
}
