//! One pass of tokens through a model.

use super::blueprint::{self, Output, Stack, StackIndex};
use super::linear::{Input, Linear, Run};
use super::loaded::{Block, Model};
use super::tap::{Tap, Tapped};
use crate::backend::Backend;
use crate::error::Result;
use crate::ops::MatrixDtype;
use crate::ops::embedding::TokenEmbed;

mod attend;
mod tokens;
pub(crate) use tokens::{Cache, Piece, Span, Tokens};

impl<B: Backend> Model<B> {
    /// Embeddings of the ids `from..from + rows` in `ids`.
    pub(crate) async fn embed(&self, ids: &B::Buffer, from: usize, rows: usize) -> Result<()> {
        self.backend.scope(&|| "token embedding".to_owned());
        for shard in &self.weights.embed {
            let embed = TokenEmbed {
                tokens: rows,
                hidden: self.config.hidden,
                dtype: self.weights.embed_dtype,
                row_words: self.weights.embed_dtype.words(self.config.hidden),
                first_row: shard.first,
                table_rows: shard.rows,
                ids_offset: from,
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
        let norm = weight.map(|w| (w, self.config.rms()));
        Input {
            x,
            norm,
            n_absmax_partials: 0,
        }
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
            tokens: rows,
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
        tokens: Tokens<'_>,
        tap: &mut impl Tap<B>,
    ) -> Result<()> {
        let (s, block) = (&self.scratch, &self.weights.blocks[index]);
        let mut n_absmax_partials = 0;
        for (i, stack) in self.config.blueprint().stacks.iter().enumerate() {
            let linear = &block.stacks[i];
            let partials = std::mem::take(&mut n_absmax_partials);
            let input = self.stack_input(stack, block, partials);
            let at = StackIndex::Block {
                block: index,
                stack: i,
            };
            tap.before(self.tapped(at, &input, rows)).await?;
            match stack.output {
                Output::Attention => {
                    self.linear(linear, input, &s.qkv, rows, false).await?;
                    self.attend(&cache, rows, tokens).await?;
                }
                Output::Gated => n_absmax_partials = self.gated(linear, input, rows).await?,
                Output::Residual => self.linear(linear, input, &s.x, rows, true).await?,
            }
        }
        Ok(())
    }

    /// What a stack of `block` reads. The stack before it has left `n_absmax_partials` of each token's activation.
    fn stack_input<'a>(
        &'a self,
        stack: &Stack,
        block: &'a Block<B>,
        n_absmax_partials: usize,
    ) -> Input<'a, B> {
        let s = &self.scratch;
        let x = match stack.input {
            blueprint::Input::Residual => &s.x,
            blueprint::Input::Attention => &s.attention,
            blueprint::Input::Activation => &s.activation,
        };
        let input = self.input(x, stack.norm.map(|norm| &block.norms[norm]));
        match input.norm {
            // the maxima are those of values that the norm has still to scale
            Some(_) => input,
            None => Input {
                n_absmax_partials,
                ..input
            },
        }
    }

    /// Gate, up and what becomes of them, into `scratch.activation`; returns [`Input::n_absmax_partials`] for its reader.
    pub(crate) async fn gated(
        &self,
        linear: &Linear<B>,
        input: Input<'_, B>,
        rows: usize,
    ) -> Result<usize> {
        let (s, run) = (&self.scratch, self.run(rows, false));
        let gate = (self.config.blueprint().gate, &s.activation);
        linear
            .apply_gated(&self.backend, &s.linear, input, gate, run)
            .await
    }

    /// What a tap is shown of a stack with this input.
    fn tapped<'a>(&'a self, stack: StackIndex, input: &Input<'a, B>, rows: usize) -> Tapped<'a, B> {
        Tapped {
            model: self,
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
            tokens: rows.len(),
            hidden: self.config.hidden,
            dtype: MatrixDtype::F32,
            row_words: self.config.hidden,
            first_row: 0,
            table_rows: rows.iter().max().map_or(0, |&row| row as usize + 1),
            ids_offset: 0,
        };
        self.backend.run(&take, &[&s.x, &s.ids, to]).await
    }

    /// Logits of the `rows` tokens in `x`, into `logits`.
    pub(crate) async fn head(&self, x: &B::Buffer, rows: usize, logits: &B::Buffer) -> Result<()> {
        self.backend.scope(&|| "final norm".to_owned());
        let input = self.input(x, Some(&self.weights.norm));
        self.linear(&self.weights.head, input, logits, rows, false)
            .await
    }

    /// Shows `tap` what the head would read of the `rows` tokens in `x`.
    pub(crate) async fn tap_head(
        &self,
        x: &B::Buffer,
        rows: usize,
        tap: &mut impl Tap<B>,
    ) -> Result<()> {
        let input = self.input(x, Some(&self.weights.norm));
        tap.before(self.tapped(StackIndex::Head, &input, rows))
            .await
    }
}
