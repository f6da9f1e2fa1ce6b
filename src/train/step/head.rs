//! Both ends of the model: embedding, head and loss, forward and back.

use super::Trainer;
use super::parameters::{EMBED, final_norm, head};
use super::product::{Columns, Factor};
use super::scratch::logit_rows;
use crate::backend::Backend;
use crate::error::Result;
use crate::ops::MatrixDtype;
use crate::ops::activation::SoftCap;
use crate::ops::embedding::TokenEmbed;
use crate::ops::train::{SoftCapBackward, TokenEmbedBackward, TokenLoss, tokens_by_id};

impl<B: Backend> Trainer<B> {
    /// Embeddings of `tokens`, into the first block's input.
    pub(super) async fn embed(&self, tokens: &[u32]) -> Result<()> {
        let (c, s) = (&self.config, &self.scratch);
        self.backend.scope(&|| "token embedding".to_owned());
        self.backend.upload(&s.tokens, 0, tokens)?;
        let embed = TokenEmbed {
            tokens: tokens.len(),
            hidden: c.hidden,
            dtype: MatrixDtype::F32,
            row_words: c.hidden,
            first_row: 0,
            table_rows: c.vocab,
            ids_offset: 0,
            scale: c.variant.embedding_scale,
        };
        let buffers = [&self.tensors[EMBED].value, &s.tokens, &s.inputs[0]];
        self.backend.run(&embed, &buffers).await
    }

    /// Adds the gradient of the embeddings of `tokens`.
    pub(super) async fn embed_backward(&self, tokens: &[u32]) -> Result<()> {
        let (c, s) = (&self.config, &self.scratch);
        self.backend
            .scope(&|| "token embedding, gradient".to_owned());
        if c.variant.embedding_scale != 1.0 {
            let scaled = SoftCap {
                n: tokens.len() * c.hidden,
                scale: c.variant.embedding_scale,
                cap: 0.0,
            };
            self.backend.run(&scaled, &[&s.d_stream]).await?;
        }
        let (order, runs) = tokens_by_id(tokens);
        self.backend.upload(&s.order, 0, &order)?;
        self.backend.upload(&s.runs, 0, runs.as_flattened())?;
        let back = TokenEmbedBackward {
            tokens: tokens.len(),
            hidden: c.hidden,
            runs: runs.len(),
            vocab: c.vocab,
        };
        let gradient = &self.tensors[EMBED].gradient;
        self.backend
            .run(&back, &[&s.d_stream, &s.order, &s.runs, gradient])
            .await
    }

    /// Computes the losses of `rows` tokens, whose targets begin at `first` among those of the step. With a `factor`, it also
    /// adds the gradient of the loss times the factor to the head and the final norm, and writes that of the residual stream
    /// to `d_stream`.
    pub(super) async fn loss(
        &mut self,
        rows: usize,
        first: usize,
        factor: Option<f64>,
    ) -> Result<()> {
        self.quantizer
            .enter_head(&self.backend, &self.list, &self.tensors)
            .await?;
        let (c, s) = (&self.config, &self.scratch);
        let (weight, norm, h) = (head(c), final_norm(c), c.hidden);
        let x = &s.inputs[c.layers];
        let portion = logit_rows(c, self.options.n_tokens(), self.backend.facts().max_words);
        let inputs = self.head_input(rows).await?;
        let logits = Columns::all(&s.logits, c.vocab);
        for row in (0..rows).step_by(portion) {
            let count = portion.min(rows - row);
            let input = inputs.below(row);
            self.linear(weight, count, input, logits, false).await?;
            self.cap(count, &s.logits).await?;
            if let Some(capped) = &s.capped {
                self.copy(count * c.vocab, &s.logits, capped).await?;
            }
            let taught = match factor {
                Some(factor) => self.distill(row, count, first + row, factor).await?,
                None => false,
            };
            if !taught {
                self.entropy(count, first + row, factor.unwrap_or(0.0))
                    .await?;
            }
            if factor.is_some() {
                self.cap_backward(count).await?;
                let d_y = self.factor(Factor::Left, count, logits).await?;
                let d_x = Columns::all(&s.d_normed, h).below(row);
                self.linear_weight(weight, count, d_y, input).await?;
                self.linear_input(weight, count, d_y, d_x, false).await?;
            }
        }
        if factor.is_some() {
            self.norm_backward(norm, rows, x, [&s.d_normed, &s.d_stream], false)
                .await?;
        }
        Ok(())
    }

    /// Multiplies and caps the logits of `rows` tokens, where the model does.
    pub(super) async fn cap(&self, rows: usize, logits: &B::Buffer) -> Result<()> {
        match self.config.caps_logits() {
            true => self.backend.run(&self.soft_cap(rows), &[logits]).await,
            false => Ok(()),
        }
    }

    fn soft_cap(&self, rows: usize) -> SoftCap {
        let c = &self.config;
        SoftCap {
            n: rows * c.vocab,
            scale: c.variant.logit_scale,
            cap: c.variant.logit_cap,
        }
    }

    /// From the gradient of capped logits that of what the head gives.
    async fn cap_backward(&self, rows: usize) -> Result<()> {
        let s = &self.scratch;
        let Some(capped) = &s.capped else {
            return Ok(());
        };
        let back = SoftCapBackward(self.soft_cap(rows));
        self.backend.run(&back, &[capped, &s.logits]).await
    }

    /// The final norm of the last block's output: the head's input, as products take it, rounded where the head is quantized.
    pub(super) async fn head_input(&self, rows: usize) -> Result<Columns<'_, B>> {
        let (c, s) = (&self.config, &self.scratch);
        let x = &s.inputs[c.layers];
        self.norm(final_norm(c), rows, x, &s.head_in).await?;
        let input = Columns::all(&s.head_in, c.hidden);
        match self.quantizer.recipe.skip_head {
            true => self.factor(Factor::Right, rows, input).await,
            false => self.layer_input(c.head().form, rows, input).await,
        }
    }

    /// Computes the losses of `rows` tokens whose logits are there, and replaces the logits by their gradient.
    async fn entropy(&self, rows: usize, first: usize, factor: f64) -> Result<()> {
        let s = &self.scratch;
        let loss = TokenLoss {
            tokens: rows,
            vocab: self.config.vocab,
            offset: first,
            factor: factor as f32,
        };
        self.backend.scope(&|| "loss".to_owned());
        self.backend
            .run(&loss, &[&s.targets, &s.logits, &s.losses])
            .await
    }
}
