//! Buffers that every step uses again, and what they take.

use super::options::TrainOptions;
use crate::backend::{Backend, upload_new};
use crate::error::Result;
use crate::model::memory::{product, sum};
use crate::model::{Config, rope};
use crate::ops::train::matmul::CAUSAL_BLOCK;

/// Words of attention weights that are held at a time: heads beyond it are taken in turn.
const SCORES: usize = 1 << 27;
/// Words of logits that are held at a time.
const LOGITS: usize = 1 << 26;

/// Tokens of one micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Texts.
    pub texts: usize,
    /// Tokens of each.
    pub length: usize,
}

impl Shape {
    pub fn rows(self) -> usize {
        self.texts * self.length
    }
}

/// Attention that is computed at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Portion {
    /// Texts.
    pub texts: usize,
    /// Key/value heads of each.
    pub kv_heads: usize,
}

/// Values from row to row of attention weights over `length` positions.
pub(super) fn score_stride(length: usize) -> usize {
    length.checked_next_multiple_of(8).unwrap_or(usize::MAX)
}

impl Portion {
    /// As much as fits [`SCORES`] and `most` words, at least one key/value head of one text.
    pub fn of(config: &Config, shape: Shape, most: usize) -> Self {
        let group = config.heads / config.kv_heads;
        let head = product(&[group, shape.length, score_stride(shape.length)]);
        let kv = (SCORES.min(most) / head).max(1);
        Self {
            texts: (kv / config.kv_heads).clamp(1, shape.texts),
            kv_heads: kv.min(config.kv_heads),
        }
    }

    /// Words of its weights.
    pub fn words(self, config: &Config, length: usize) -> usize {
        let heads = self.texts * self.kv_heads * (config.heads / config.kv_heads);
        product(&[heads, length, score_stride(length)])
    }
}

/// Rows whose logits are held at a time.
pub(super) fn logit_rows(config: &Config, rows: usize, most: usize) -> usize {
    let fit = LOGITS.min(most) / config.vocab;
    (fit / CAUSAL_BLOCK * CAUSAL_BLOCK)
        .max(fit.min(CAUSAL_BLOCK))
        .clamp(1, rows)
}

/// What the forward pass of a block leaves for its backward pass.
pub(super) struct Acts<B: Backend> {
    /// Input of q, k and v.
    pub attention_in: B::Buffer,
    /// After rotation.
    pub qkv: B::Buffer,
    /// The residual stream after attention.
    pub middle: B::Buffer,
    /// Input of gate and up.
    pub mlp_in: B::Buffer,
    /// Gate and up beside each other.
    pub pairs: B::Buffer,
    pub activation: B::Buffer,
}

/// A buffer of whole vectors, for copies.
fn whole<B: Backend>(backend: &B, label: &str, words: usize) -> Result<B::Buffer> {
    backend.alloc(label, words.next_multiple_of(4))
}

impl<B: Backend> Acts<B> {
    fn new(backend: &B, config: &Config, rows: usize) -> Result<Self> {
        let per_row = |label: &str, width: usize| whole(backend, label, rows * width);
        let [a, b, c, d, e, f] = act_widths(config);
        Ok(Self {
            attention_in: per_row("attention input", a)?,
            qkv: per_row("q, k, v", b)?,
            middle: per_row("residual stream", c)?,
            mlp_in: per_row("MLP input", d)?,
            pairs: per_row("gate, up", e)?,
            activation: per_row("MLP activation", f)?,
        })
    }
}

/// Values per token of the buffers of [`Acts`], in their order.
fn act_widths(c: &Config) -> [usize; 6] {
    let (h, i) = (c.hidden, c.intermediate);
    [h, qkv_row(c), h, h, 2 * i, i]
}

/// Values per token of q, k and v together.
pub(super) fn qkv_row(c: &Config) -> usize {
    (c.heads + 2 * c.kv_heads) * c.head_dim
}

/// Everything between the parameters.
pub(super) struct Scratch<B: Backend> {
    pub rope: B::Buffer,
    pub tokens: B::Buffer,
    /// Rows by token.
    pub order: B::Buffer,
    pub runs: B::Buffer,
    /// Input of every block, and of the final norm.
    pub inputs: Vec<B::Buffer>,
    /// Output of every block's attention, which costs more to compute again than to keep.
    pub attentions: Vec<B::Buffer>,
    /// Of one block, or of each; none where there are no blocks.
    pub acts: Vec<Acts<B>>,
    /// Input of the head.
    pub head_in: B::Buffer,
    /// Gradient of the residual stream.
    pub d_stream: B::Buffer,
    /// Gradient of a norm's output.
    pub d_normed: B::Buffer,
    pub d_qkv: B::Buffer,
    pub d_attention: B::Buffer,
    pub d_activation: B::Buffer,
    /// Of the rows of a norm.
    pub row_scale: B::Buffer,
    pub scores: B::Buffer,
    pub d_scores: B::Buffer,
    pub logits: B::Buffer,
    /// Of all micro-batches of a step.
    pub targets: B::Buffer,
    pub losses: B::Buffer,
    /// Rows that these two hold.
    pub step_rows: usize,
    pub squares: B::Buffer,
    pub largest: B::Buffer,
    /// 0, 1, 2 and so on: rows of a micro-batch, and columns of the residual stream.
    pub counting: B::Buffer,
    /// Factors of a product in half precision, where products take them.
    pub halves: Option<[B::Buffer; 2]>,
}

/// Words of [`Scratch::halves`].
fn half_words(c: &Config, o: &TrainOptions, most: usize) -> [usize; 2] {
    let (rows, q) = (o.rows(), c.heads * c.head_dim);
    let wide = product(&[rows, (2 * c.intermediate).max(qkv_row(c)).max(c.hidden)]);
    let logits = logit_rows(c, rows, most) * c.vocab;
    let narrow = product(&[rows, c.intermediate.max(q).max(c.hidden)]);
    [wide.max(logits).div_ceil(2), narrow.div_ceil(2)]
}

/// Words of [`Scratch`] for a device with bindings of `most` words: block inputs and activations; the rest.
pub(super) fn words(c: &Config, o: &TrainOptions, most: usize, half: bool) -> [usize; 2] {
    let halves = half_words(c, o, most).map(|words| if half { words } else { 0 });
    let rows = o.rows();
    let kept = if o.checkpoint {
        c.layers.min(1)
    } else {
        c.layers
    };
    let acts: usize = act_widths(c).iter().sum();
    let shape = Shape {
        texts: o.texts,
        length: o.length,
    };
    let portion = Portion::of(c, shape, most);
    let gradients = 3 * c.hidden + qkv_row(c) + c.heads * c.head_dim + c.intermediate + 9;
    [
        product(&[
            rows,
            c.hidden * (c.layers + 1) + c.heads * c.head_dim * c.layers + kept * acts,
        ]),
        sum([
            product(&[rows, gradients]),
            product(&[2, portion.words(c, o.length)]),
            logit_rows(c, rows, most) * c.vocab,
            product(&[o.length, c.head_dim]),
            sum(halves),
        ]),
    ]
}

impl<B: Backend> Scratch<B> {
    pub fn new(
        backend: &B,
        c: &Config,
        o: &TrainOptions,
        shares: usize,
        half: bool,
    ) -> Result<Self> {
        let rows = o.rows();
        let alloc = |label: &str, words: usize| whole(backend, label, words);
        let per_row = |label: &str, width: usize| alloc(label, rows * width);
        let shape = Shape {
            texts: o.texts,
            length: o.length,
        };
        let most = backend.facts().max_words;
        let scores = Portion::of(c, shape, most).words(c, o.length);
        let table = rope::trained_table(&c.rope, c.head_dim, o.length);
        let kept = if o.checkpoint {
            c.layers.min(1)
        } else {
            c.layers
        };
        let counting: Vec<u32> = (0..rows.max(c.hidden) as u32).collect();
        Ok(Self {
            rope: upload_new(backend, "rope table", bytemuck::cast_slice(&table))?,
            tokens: per_row("token ids", 1)?,
            order: per_row("order of the tokens", 1)?,
            runs: per_row("runs of tokens", 3)?,
            inputs: (0..=c.layers)
                .map(|_| per_row("block input", c.hidden))
                .collect::<Result<_>>()?,
            attentions: (0..c.layers)
                .map(|_| per_row("attention", c.heads * c.head_dim))
                .collect::<Result<_>>()?,
            acts: (0..kept)
                .map(|_| Acts::new(backend, c, rows))
                .collect::<Result<_>>()?,
            head_in: per_row("head input", c.hidden)?,
            d_stream: per_row("gradient of the residual stream", c.hidden)?,
            d_normed: per_row("gradient of a norm", c.hidden)?,
            d_qkv: per_row("gradient of q, k, v", qkv_row(c))?,
            d_attention: per_row("gradient of attention", c.heads * c.head_dim)?,
            d_activation: per_row("gradient of the MLP activation", c.intermediate)?,
            row_scale: per_row("norms", 1)?,
            scores: alloc("attention weights", scores)?,
            d_scores: alloc("gradient of attention weights", scores)?,
            logits: alloc("logits", logit_rows(c, rows, most) * c.vocab)?,
            targets: per_row("targets", 1)?,
            losses: per_row("losses", 1)?,
            step_rows: rows,
            squares: alloc("squares", shares)?,
            largest: alloc("largest", shares)?,
            counting: upload_new(backend, "rows", &counting)?,
            halves: match half_words(c, o, most) {
                [a, b] if half => Some([alloc("half factor", a)?, alloc("half factor", b)?]),
                _ => None,
            },
        })
    }

    /// Makes room for the targets and losses of so many rows.
    pub fn reserve(&mut self, backend: &B, rows: usize) -> Result<()> {
        if rows > self.step_rows {
            self.targets = backend.alloc("targets", rows)?;
            self.losses = backend.alloc("losses", rows)?;
            self.step_rows = rows;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_come_in_blocks_of_rows() {
        let mut config = crate::files::open_source(crate::builtin::source())
            .unwrap()
            .config;
        config.vocab = 32_000;
        assert_eq!(logit_rows(&config, 8192, usize::MAX), 2048);
        assert_eq!(logit_rows(&config, 100, usize::MAX), 100);
        assert_eq!(logit_rows(&config, 8192, 3_200_000), 100);
        assert_eq!(logit_rows(&config, 8192, 1), 1);
    }

    #[test]
    fn portions_are_whole_texts_or_heads_of_one() {
        let config = crate::files::open_source(crate::builtin::source())
            .unwrap()
            .config;
        let shape = Shape {
            texts: 5,
            length: 64,
        };
        let all = Portion::of(&config, shape, usize::MAX);
        assert_eq!((all.texts, all.kv_heads), (5, config.kv_heads));
        let one = all.words(&config, 64) / 5 / config.kv_heads;
        let part = Portion::of(&config, shape, one);
        assert_eq!((part.texts, part.kv_heads), (1, 1));
    }
}
