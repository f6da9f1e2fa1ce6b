//! One pass of tokens through a model.

use super::blueprint::{self, Output, Stack, StackIndex};
use super::linear::{Input, Linear, Run};
use super::loaded::{Block, Model};
use super::tap::{Tap, Tapped};
use crate::backend::Backend;
use crate::error::Result;
use crate::ops::MatrixDtype;
use crate::ops::activation::SoftCap;
use crate::ops::calibrate::Axpy;
use crate::ops::embedding::TokenEmbed;
use crate::ops::norm::{Center, RmsNorm};

mod attend;
mod mixture;
mod tokens;
pub(crate) use mixture::{ExpertWeights, MixtureScratch};
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
                scale: self.config.variant.embedding_scale,
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
            tuning: self.backend.facts().tuning,
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
        let (s, own) = (&self.scratch, index - self.layers().start);
        let block = &self.weights.blocks[own];
        let mut n_absmax_partials = 0;
        for (i, stack) in self.config.blueprint().stacks.iter().enumerate() {
            if stack.output == Output::Gated
                && let (Some(how), Some(experts)) = (self.config.experts(index), &block.experts)
            {
                let norm = stack.norm.map(|norm| &block.norms[norm]);
                return self.mixture((how, experts), norm, rows).await;
            }
            let linear = &block.stacks[i];
            let partials = std::mem::take(&mut n_absmax_partials);
            let input = self.stack_input(stack, block, partials, rows).await?;
            let at = StackIndex::Block {
                block: index,
                stack: i,
            };
            tap.before(self.tapped(at, &input, rows)).await?;
            match stack.output {
                Output::Attention => {
                    self.linear(linear, input, &s.qkv, rows, false).await?;
                    self.attention(block, &cache, rows, tokens).await?;
                }
                Output::Gated => n_absmax_partials = self.gated(linear, input, rows).await?,
                Output::Residual => {
                    let after = stack.after.map(|norm| &block.norms[norm]);
                    self.add(linear, after, input, &s.x, rows).await?;
                }
            }
        }
        Ok(())
    }

    /// Adds what a stack makes of `input` to the residual stream `x`, normalized before by the weight `after`, if there is one.
    pub(crate) async fn add(
        &self,
        linear: &Linear<B>,
        after: Option<&B::Buffer>,
        input: Input<'_, B>,
        x: &B::Buffer,
        rows: usize,
    ) -> Result<()> {
        if !self.config.adds_branches() {
            return self.linear(linear, input, x, rows, true).await;
        }
        let (branch, n) = (&self.scratch.branch, self.config.hidden);
        self.linear(linear, input, branch, rows, false).await?;
        let Some(weight) = after else {
            let factor = self.config.variant.residual_scale;
            let n = rows * n;
            return self.backend.run(&Axpy { n, factor }, &[branch, x]).await;
        };
        let norm = RmsNorm {
            tokens: rows,
            n,
            rms: self.config.rms(),
            accumulate: true,
        };
        self.backend.run(&norm, &[branch, weight, x]).await
    }

    /// Attention of a block whose q, k and v are there.
    pub(crate) async fn attention(
        &self,
        block: &Block<B>,
        cache: &Cache<'_, B>,
        rows: usize,
        tokens: Tokens<'_>,
    ) -> Result<()> {
        let norms = self.config.blueprint().head_norms;
        let cache = Cache {
            norms: norms.map(|names| [&block.norms[names.q], &block.norms[names.k]]),
            ..*cache
        };
        self.attend(&cache, rows, tokens).await
    }

    /// `x`, or `x` less its mean where norms read that.
    pub(crate) async fn center<'a>(
        &'a self,
        x: &'a B::Buffer,
        rows: usize,
    ) -> Result<&'a B::Buffer> {
        if !self.config.blueprint().centered {
            return Ok(x);
        }
        let center = Center {
            tokens: rows,
            n: self.config.hidden,
            accumulate: false,
        };
        let centered = &self.scratch.centered;
        self.backend.run(&center, &[x, centered]).await?;
        Ok(centered)
    }

    /// What a stack of `block` reads. The stack before it has left `n_absmax_partials` of each token's activation.
    async fn stack_input<'a>(
        &'a self,
        stack: &Stack,
        block: &'a Block<B>,
        n_absmax_partials: usize,
        rows: usize,
    ) -> Result<Input<'a, B>> {
        let s = &self.scratch;
        let x = match stack.input {
            blueprint::Input::Residual => self.center(&s.x, rows).await?,
            blueprint::Input::Attention => &s.attention,
            blueprint::Input::Activation => &s.activation,
        };
        let input = self.input(x, stack.norm.map(|norm| &block.norms[norm]));
        Ok(match input.norm {
            // the maxima are those of values that the norm has still to scale
            Some(_) => input,
            None => Input {
                n_absmax_partials,
                ..input
            },
        })
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
            scale: 1.0,
        };
        self.backend.run(&take, &[&s.x, &s.ids, to]).await
    }

    /// Logits of the `rows` tokens in `x`, into `logits`.
    pub(crate) async fn head(&self, x: &B::Buffer, rows: usize, logits: &B::Buffer) -> Result<()> {
        self.backend.scope(&|| "final norm".to_owned());
        let x = self.center(x, rows).await?;
        let input = self.input(x, Some(&self.weights.norm));
        let head = &self.weights.head;
        self.linear(head, input, logits, rows, false).await?;
        let v = &self.config.variant;
        if !self.config.caps_logits() {
            return Ok(());
        }
        let cap = SoftCap {
            n: rows * self.config.vocab,
            scale: v.logit_scale,
            cap: v.logit_cap,
        };
        self.backend.run(&cap, &[logits]).await
    }

    /// Shows `tap` what the head would read of the `rows` tokens in `x`.
    pub(crate) async fn tap_head(
        &self,
        x: &B::Buffer,
        rows: usize,
        tap: &mut impl Tap<B>,
    ) -> Result<()> {
        let x = self.center(x, rows).await?;
        let input = self.input(x, Some(&self.weights.norm));
        tap.before(self.tapped(StackIndex::Head, &input, rows))
            .await
    }
}
