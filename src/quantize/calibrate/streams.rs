//! The calibration text on its way through the blocks: the residual streams of the full-precision model and of the one
//! whose blocks so far are quantized, side by side.

use super::moments::{Moments, Scratch, copy};
use crate::backend::{Backend, upload_new};
use crate::error::Result;
use crate::model::forward::{Block, Cache, LoadOptions, Model, Parts, Span, Text};
use crate::model::linear::{Linear, tile_rows};
use crate::model::load::Loader;
use crate::model::session::cache_words;
use crate::model::tap::Stack;
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
    kept: Option<B::Buffer>,
}

/// The stacks of a block that are quantized so far.
pub(super) struct Quantized<B: Backend> {
    pub qkv: Option<Linear<B>>,
    pub o: Option<Linear<B>>,
    pub gate_up: Option<Linear<B>>,
    pub down: Option<Linear<B>>,
}

/// A block in full precision, and what is quantized of it.
pub(super) type Both<'b, 'a, B> = (&'b Block<&'a B>, &'b Quantized<&'a B>);

/// Everything that runs over the text.
pub(super) struct Streams<'a, B: Backend> {
    /// Buffers of one pass, without blocks of its own.
    model: Model<&'a B>,
    keys: B::Buffer,
    values: B::Buffer,
    ranges: B::Buffer,
    batches: Vec<Batch<B>>,
    /// What enters a stack in both models; the widest of all stacks.
    inputs: [B::Buffer; 2],
    /// The same turned, where layers are quantized for turned inputs.
    turned: Option<[B::Buffer; 2]>,
    scratch: Scratch<B>,
    /// Whether there is room for [`Batch::kept`] of all batches.
    keeps: bool,
}

/// Share of the device's memory that inputs are kept in.
const KEPT: f64 = 0.25;

impl<B: Backend> Default for Quantized<B> {
    fn default() -> Self {
        Self {
            qkv: None,
            o: None,
            gate_up: None,
            down: None,
        }
    }
}

impl<'a, B: Backend> Streams<'a, B> {
    /// Embeds the sequences, of `options.context` tokens at most, `options.batch` tokens at a time.
    pub async fn new(
        loader: &Loader<'_, &'a B>,
        sequences: &[Vec<u32>],
        options: LoadOptions,
        rotated: bool,
    ) -> Result<Self> {
        let (backend, c) = (*loader.backend, loader.config);
        let (embed, embed_stored) = loader.embedding()?;
        let parts = Parts {
            embed,
            embed_stored,
            blocks: Vec::new(),
            norm: loader.vector("model.norm.weight")?,
            head: Linear::dense(&backend, "none".into(), c.hidden, embed_stored, &[])?,
        };
        let model = Model::from_parts(backend, c, options, parts)?;
        let cache = cache_words(&backend, c, &options, 1);
        let ranges = backend.facts().tuning.ranges;
        let widest = c.hidden.max(c.intermediate).max(c.heads * c.head_dim);
        let wide = |label| backend.alloc(label, options.batch * widest);
        let tokens = sequences.iter().map(Vec::len).sum::<usize>();
        let mut streams = Self {
            keys: backend.alloc("K cache", cache)?,
            values: backend.alloc("V cache", cache)?,
            ranges: backend.alloc(
                "attention ranges",
                AttentionSplit::most_words(1, c.head_dim, ranges),
            )?,
            batches: Vec::new(),
            inputs: [wide("full-precision inputs")?, wide("inputs")?],
            turned: match rotated {
                true => Some([
                    wide("turned full-precision inputs")?,
                    wide("turned inputs")?,
                ]),
                false => None,
            },
            scratch: Scratch::new(backend, options.batch * widest)?,
            keeps: backend
                .available()
                .is_none_or(|bytes| 4.0 * (tokens * widest) as f64 <= KEPT * bytes as f64),
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
                rows: sequence.len(),
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
        let widest = m
            .config
            .intermediate
            .max(m.config.heads * m.config.head_dim);
        let keep = || m.backend.alloc("kept inputs", rows * widest);
        self.batches.push(Batch {
            kept: self.keeps.then(keep).transpose()?,
            spans,
            rows,
            streams,
        });
        Ok(&sequences[count..])
    }

    /// Columns of a stack's input, and whether it adds to the residual stream.
    fn shape(&self, stack: Stack) -> (usize, bool) {
        let c = &self.model.config;
        match stack {
            Stack::Qkv | Stack::GateUp | Stack::Head => (c.hidden, false),
            Stack::O => (c.heads * c.head_dim, true),
            Stack::Down => (c.intermediate, true),
        }
    }

    /// Moments of what enters a stack of a block (none: the head). The full-precision stream goes on by what the stack adds
    /// to it.
    pub async fn moments(
        &self,
        stack: Stack,
        block: Option<Both<'_, 'a, B>>,
    ) -> Result<Moments<B>> {
        let backend = self.model.backend;
        let (columns, adds) = self.shape(stack);
        let hidden = self.model.config.hidden;
        let moments = Moments::new(backend, columns, adds.then_some(hidden))?;
        for batch in &self.batches {
            for which in [0, 1] {
                let (stream, to) = (&batch.streams[which], &self.inputs[which]);
                self.input(stack, block, (which, batch, stream), to).await?;
            }
            let [full, quantized] = &self.inputs;
            let [full_stream, stream] = &batch.streams;
            let inputs = self.turn(batch.rows, columns).await?;
            let streams = (full_stream, stream);
            moments
                .add(backend, batch.rows, inputs, streams, &self.scratch)
                .await?;
            if let (true, Some((block, _))) = (adds, block) {
                let linear = if stack == Stack::O {
                    &block.o
                } else {
                    &block.down
                };
                self.add(linear, full, full_stream, batch.rows).await?;
                if let Some(kept) = &batch.kept {
                    copy(backend, batch.rows * columns, quantized, kept).await?;
                }
            }
        }
        Ok(moments)
    }

    /// The inputs of both models as quantized layers read them: turned, if they are.
    async fn turn(&self, rows: usize, width: usize) -> Result<(&B::Buffer, &B::Buffer)> {
        let Some(turned) = &self.turned else {
            let [full, quantized] = &self.inputs;
            return Ok((full, quantized));
        };
        let back = false;
        let turn = Hadamard { rows, width, back };
        for (from, to) in self.inputs.iter().zip(turned) {
            self.model.backend.run(&turn, &[from, to]).await?;
        }
        let [full, quantized] = turned;
        Ok((full, quantized))
    }

    /// Adds what a layer makes of its input to a stream.
    async fn add(
        &self,
        linear: &Linear<&'a B>,
        x: &B::Buffer,
        stream: &B::Buffer,
        rows: usize,
    ) -> Result<()> {
        let input = self.model.input(x, None);
        self.model.linear(linear, input, stream, rows, true).await
    }

    /// What enters a stack, into `to`.
    async fn input(
        &self,
        stack: Stack,
        block: Option<Both<'_, 'a, B>>,
        (which, batch, stream): (usize, &Batch<B>, &B::Buffer),
        to: &B::Buffer,
    ) -> Result<()> {
        let (m, rows) = (&self.model, batch.rows);
        let columns = self.shape(stack).0;
        let Some((full, quantized)) = block else {
            return self.normalize(stream, &m.parts.norm, rows, to).await;
        };
        match stack {
            Stack::Qkv => self.normalize(stream, &full.attention_norm, rows, to).await,
            Stack::O => {
                let qkv = chosen(which, &full.qkv, &quantized.qkv);
                self.attend(batch, stream, &full.attention_norm, qkv)
                    .await?;
                copy(m.backend, rows * columns, &m.scratch.attention, to).await
            }
            Stack::GateUp => self.normalize(stream, &full.mlp_norm, rows, to).await,
            Stack::Down | Stack::Head => {
                let gate_up = chosen(which, &full.gate_up, &quantized.gate_up);
                self.activate(stream, &full.mlp_norm, gate_up, rows).await?;
                copy(m.backend, rows * columns, &m.scratch.activation, to).await
            }
        }
    }

    async fn normalize(
        &self,
        stream: &B::Buffer,
        weight: &B::Buffer,
        rows: usize,
        to: &B::Buffer,
    ) -> Result<()> {
        let (n, eps) = (self.model.config.hidden, self.model.config.norm_eps);
        let norm = RmsNorm { rows, n, eps };
        let buffers = [stream, weight, to];
        self.model.backend.run(&norm, &buffers).await
    }

    /// Attention of a batch, each sequence by itself.
    async fn attend(
        &self,
        batch: &Batch<B>,
        stream: &B::Buffer,
        norm: &B::Buffer,
        qkv: &Linear<&'a B>,
    ) -> Result<()> {
        let (m, rows) = (&self.model, batch.rows);
        let input = m.input(stream, Some(norm));
        m.linear(qkv, input, &m.scratch.qkv, rows, false).await?;
        let cache = Cache {
            k: &self.keys,
            v: &self.values,
            ranges: &self.ranges,
            context: m.options.context,
        };
        m.attend(&cache, rows, 0, Text::Spans(&batch.spans)).await
    }

    /// Gate times up.
    async fn activate(
        &self,
        stream: &B::Buffer,
        norm: &B::Buffer,
        gate_up: &Linear<&'a B>,
        rows: usize,
    ) -> Result<()> {
        let m = &self.model;
        let (input, run) = (m.input(stream, Some(norm)), m.run(rows, false));
        let (scratch, to) = (&m.scratch.linear, &m.scratch.activation);
        let applied = gate_up.apply_swiglu(&m.backend, scratch, input, to, run);
        applied.await.map(|_| ())
    }

    /// Adds what a stack ([`Stack::O`] or [`Stack::Down`]) of a block makes of its input to the quantized stream; also to
    /// the full-precision one where [`Streams::moments`] has not done that.
    pub async fn advance(
        &self,
        stack: Stack,
        (full, made): Both<'_, 'a, B>,
        measured: bool,
    ) -> Result<()> {
        let linears = match stack {
            Stack::O => [&full.o, made.o.as_ref().unwrap_or(&full.o)],
            _ => [&full.down, made.down.as_ref().unwrap_or(&full.down)],
        };
        for batch in &self.batches {
            for which in [0, 1] {
                let stream = &batch.streams[which];
                let (linear, input) = (linears[which], &self.inputs[which]);
                match (which, measured, &batch.kept) {
                    (0, true, _) => {}
                    (1, true, Some(kept)) => self.add(linear, kept, stream, batch.rows).await?,
                    _ => {
                        let of = (which, batch, stream);
                        self.input(stack, Some((full, made)), of, input).await?;
                        self.add(linear, input, stream, batch.rows).await?;
                    }
                }
            }
        }
        self.model.backend.flush()
    }
}

/// The stack of the full-precision model (0) or the quantized one, which is there when it is asked for.
fn chosen<'l, B: Backend>(
    which: usize,
    full: &'l Linear<B>,
    quantized: &'l Option<Linear<B>>,
) -> &'l Linear<B> {
    match (which, quantized) {
        (1, Some(quantized)) => quantized,
        _ => full,
    }
}
