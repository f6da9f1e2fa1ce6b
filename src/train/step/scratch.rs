//! Buffers that every step uses again, and what they take.

use super::extra::ExtraWords;
use super::options::{BLOCK, TrainOptions};
use crate::backend::{Backend, upload_new};
use crate::error::Result;
use crate::model::blueprint::Output;
use crate::model::budget::{product, sum};
use crate::model::{Config, Form, Rope, rope};
use crate::ops::quantize::Activations;

/// Most words of logits at a time.
const LOGITS: usize = 1 << 26;

/// Tokens of one micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub n_seqs: usize,
    /// Tokens of each sequence.
    pub length: usize,
}

impl Shape {
    pub(super) fn n_tokens(self) -> usize {
        self.n_seqs * self.length
    }
}

/// How many tokens have their logits on the device at a time.
pub(super) fn logit_rows(config: &Config, rows: usize, most: usize) -> usize {
    let fit = LOGITS.min(most) / config.vocab;
    (fit / BLOCK * BLOCK).max(fit.min(BLOCK)).clamp(1, rows)
}

/// What the forward pass of a block leaves for its backward pass.
pub(super) struct Acts<B: Backend> {
    /// What each norm gives.
    pub normed: Vec<B::Buffer>,
    /// Outputs of the stack before attention, after rotation.
    pub qkv: B::Buffer,
    /// The same before queries and keys are normalized, where they are.
    pub raw_qkv: Option<B::Buffer>,
    /// What each stack adds to the residual stream, where that is normalized or multiplied before.
    pub branches: Vec<B::Buffer>,
    /// The residual stream after each stack that adds to it, but the last: that is the next block's input.
    pub streams: Vec<B::Buffer>,
    /// Outputs of the gated stack: gate and up beside each other.
    pub pairs: B::Buffer,
    pub activation: B::Buffer,
}

/// A buffer of whole vectors of four words, because copies move such.
fn whole<B: Backend>(backend: &B, label: &str, words: usize) -> Result<B::Buffer> {
    backend.alloc(label, words.next_multiple_of(4))
}

impl<B: Backend> Acts<B> {
    fn new(backend: &B, config: &Config, rows: usize) -> Result<Self> {
        let per_row = |label: &str, width: usize| whole(backend, label, rows * width);
        let widths = ActWidths::of(config);
        let all = |label: &str, widths: &[usize]| {
            let buffers = widths.iter().map(|&width| per_row(label, width));
            buffers.collect::<Result<_>>()
        };
        Ok(Self {
            normed: all("output of a norm", &widths.normed)?,
            qkv: per_row("q, k, v", widths.qkv)?,
            raw_qkv: match widths.raw_qkv {
                0 => None,
                width => Some(per_row("q, k, v before their norms", width)?),
            },
            branches: all("addition to the stream", &widths.branches)?,
            streams: all("residual stream", &widths.streams)?,
            pairs: per_row("gate, up", widths.pairs)?,
            activation: per_row("MLP activation", widths.activation)?,
        })
    }
}

/// Values per token of the buffers of [`Acts`].
struct ActWidths {
    normed: Vec<usize>,
    qkv: usize,
    raw_qkv: usize,
    branches: Vec<usize>,
    streams: Vec<usize>,
    pairs: usize,
    activation: usize,
}

impl ActWidths {
    fn of(c: &Config) -> Self {
        let blueprint = c.blueprint();
        let norms = blueprint.norms.iter();
        let additions = blueprint.additions(blueprint.stacks.len());
        Self {
            normed: norms.map(|norm| (norm.width)(c)).collect(),
            qkv: c.outputs(Output::Attention),
            raw_qkv: match blueprint.head_norms {
                Some(_) => c.outputs(Output::Attention),
                None => 0,
            },
            branches: match c.adds_branches() {
                true => vec![c.hidden; additions],
                false => Vec::new(),
            },
            streams: vec![c.hidden; additions.saturating_sub(1)],
            pairs: c.outputs(Output::Gated),
            activation: c.intermediate,
        }
    }

    fn total(&self) -> usize {
        let lists = self.normed.iter().chain(&self.streams);
        let lists: usize = lists.chain(&self.branches).sum();
        lists + self.qkv + self.raw_qkv + self.pairs + self.activation
    }
}

/// Values of the widest norm, the last one included.
pub(super) fn widest_norm(c: &Config) -> usize {
    let norms = c.blueprint().norms.iter();
    norms.map(|norm| (norm.width)(c)).fold(c.hidden, usize::max)
}

/// All buffers of a step beside the parameters.
pub(super) struct Scratch<B: Backend> {
    pub rope: B::Buffer,
    /// That of the layers that have another.
    pub local_rope: Option<B::Buffer>,
    /// Gradient of what a stack adds to the residual stream, where that is normalized or multiplied before.
    pub d_branch: Option<B::Buffer>,
    /// What two norms multiply by, where that is not their stored weight.
    pub norm_weights: Option<[B::Buffer; 2]>,
    /// Logits after their cap, where they have one or a factor.
    pub capped: Option<B::Buffer>,
    pub tokens: B::Buffer,
    /// Rows of the micro-batch, ordered by their token.
    pub order: B::Buffer,
    pub runs: B::Buffer,
    /// Input of every block, and of the final norm.
    pub inputs: Vec<B::Buffer>,
    /// Output of every block's attention, which costs more to compute again than to keep.
    pub attentions: Vec<B::Buffer>,
    /// The logarithms of the sums that its weights were divided by.
    pub lses: Vec<B::Buffer>,
    /// One for all blocks where their backward passes compute again, or one for each; none where there are no blocks.
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
    /// The factor that a norm has multiplied each token by.
    pub row_scale: B::Buffer,
    /// The product of each head's output with its gradient.
    pub delta: B::Buffer,
    pub logits: B::Buffer,
    /// The targets of all micro-batches of a step, and below their losses.
    pub targets: B::Buffer,
    pub losses: B::Buffer,
    /// How many tokens these two have room for.
    pub step_rows: usize,
    pub squares: B::Buffer,
    pub largest: B::Buffer,
    /// The indices 0, 1, 2, ... of rows of a micro-batch and of columns of the residual stream.
    pub counting: B::Buffer,
    /// The gradient of the real matrix of one complex layer.
    pub d_real: Option<B::Buffer>,
    /// The input of layers on the grid of integers, where activations are rounded.
    pub rounded: Option<B::Buffer>,
    /// Factors of a product in half precision, where products take them.
    pub halves: Option<[B::Buffer; 2]>,
}

/// How many blocks have their activations on the device at a time.
fn n_acts(c: &Config, o: &TrainOptions) -> usize {
    match o.checkpoint {
        true => c.layers.min(1),
        false => c.layers,
    }
}

/// Words of [`Scratch::d_real`].
fn real_words(c: &Config) -> usize {
    let layers = c.linears().into_iter();
    let complex = layers.filter(|l| l.form == Form::Conjugate);
    let words = complex.map(|l| product(&[l.out_features, l.in_features]));
    words.max().unwrap_or(0)
}

/// Words of [`Scratch::rounded`].
fn rounded_words(c: &Config, o: &TrainOptions) -> usize {
    match o.activations {
        Activations::Float => 0,
        _ => product(&[o.n_tokens(), c.widest_input()]),
    }
}

/// Words of [`Scratch::halves`].
fn half_words(c: &Config, o: &TrainOptions, most: usize) -> [usize; 2] {
    let rows = o.n_tokens();
    let wide = product(&[rows, c.widest_output().max(c.hidden)]);
    let logits = logit_rows(c, rows, most) * c.vocab;
    let narrow = product(&[rows, c.widest_input()]);
    [wide.max(logits).div_ceil(2), narrow.div_ceil(2)]
}

/// Words of [`Scratch`] on a device with bindings of `most` words: first those of block inputs and activations, then those
/// of everything else.
pub(super) fn words(c: &Config, o: &TrainOptions, most: usize, half: bool) -> [usize; 2] {
    let halves = half_words(c, o, most).map(|words| if half { words } else { 0 });
    let rows = o.n_tokens();
    let kept = n_acts(c, o);
    let acts = ActWidths::of(c).total();
    let streams = 2 * c.hidden + widest_norm(c);
    let gradients =
        streams + c.outputs(Output::Attention) + c.queries() + c.heads + c.intermediate + 9;
    [
        product(&[
            rows,
            c.hidden * (c.layers + 1) + (c.queries() + c.heads) * c.layers + kept * acts,
        ]),
        sum([
            product(&[rows, gradients]),
            logit_rows(c, rows, most) * c.vocab,
            product(&[2, o.length, c.head_dim]),
            ExtraWords::of(c, o, most).total(),
            real_words(c),
            rounded_words(c, o),
            sum(halves),
        ]),
    ]
}

impl<B: Backend> Scratch<B> {
    pub(super) fn new(
        backend: &B,
        c: &Config,
        o: &TrainOptions,
        shares: usize,
        half: bool,
    ) -> Result<Self> {
        let rows = o.n_tokens();
        let alloc = |label: &str, words: usize| whole(backend, label, words);
        let per_row = |label: &str, width: usize| alloc(label, rows * width);
        let some = |label: &str, words: usize| (words > 0).then(|| alloc(label, words)).transpose();
        let most = backend.facts().max_words;
        let table = |of: &Rope| {
            let table = rope::trained_table(of, c.rotary_dim(), o.length);
            upload_new(backend, "rope table", bytemuck::cast_slice(&table))
        };
        let extra = ExtraWords::of(c, o, most);
        let each = |n: usize, label: &str, width: usize| -> Result<Vec<_>> {
            (0..n).map(|_| per_row(label, width)).collect()
        };
        let acts = (0..n_acts(c, o)).map(|_| Acts::new(backend, c, rows));
        let counting: Vec<u32> = (0..rows.max(c.hidden) as u32).collect();
        Ok(Self {
            rope: table(&c.rope)?,
            local_rope: c.variant.local_rope.as_ref().map(table).transpose()?,
            d_branch: some("gradient of a branch", extra.d_branch)?,
            norm_weights: match extra.norm_weight {
                0 => None,
                words => Some([alloc("norm", words)?, alloc("norm", words)?]),
            },
            capped: some("capped logits", extra.capped)?,
            tokens: per_row("token ids", 1)?,
            order: per_row("order of the tokens", 1)?,
            runs: per_row("runs of tokens", 3)?,
            inputs: each(c.layers + 1, "block input", c.hidden)?,
            attentions: each(c.layers, "attention", c.queries())?,
            lses: each(c.layers, "sums of attention weights", c.heads)?,
            acts: acts.collect::<Result<_>>()?,
            head_in: per_row("head input", c.hidden)?,
            d_stream: per_row("gradient of the residual stream", c.hidden)?,
            d_normed: per_row("gradient of a norm", widest_norm(c))?,
            d_qkv: per_row("gradient of q, k, v", c.outputs(Output::Attention))?,
            d_attention: per_row("gradient of attention", c.queries())?,
            d_activation: per_row("gradient of the MLP activation", c.intermediate)?,
            row_scale: per_row("norms", 1)?,
            delta: per_row("attention by its gradient", c.heads)?,
            logits: alloc("logits", logit_rows(c, rows, most) * c.vocab)?,
            targets: per_row("targets", 1)?,
            losses: per_row("losses", 1)?,
            step_rows: rows,
            squares: alloc("squares", shares)?,
            largest: alloc("largest", shares)?,
            counting: upload_new(backend, "rows", &counting)?,
            d_real: some("gradient of a real matrix", real_words(c))?,
            rounded: some("rounded activations", rounded_words(c, o))?,
            halves: match half_words(c, o, most) {
                [a, b] if half => Some([alloc("half factor", a)?, alloc("half factor", b)?]),
                _ => None,
            },
        })
    }

    /// Makes room for the targets and losses of `rows` tokens.
    pub(super) fn reserve(&mut self, backend: &B, rows: usize) -> Result<()> {
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
}
