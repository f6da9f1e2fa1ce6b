//! Distillation: a full-precision model of the same shape says what the distribution of the next token should be.

use super::Trainer;
use super::given::Given;
use super::options::Batch;
use super::parameters::{Kind, head};
use super::product::Columns;
use super::quantizer::Quantizer;
use super::scratch::logit_rows;
use super::teacher::{self, Teacher, input_words};
use super::tensors::Tensors;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::{Config, Recipe, Weights};
use crate::ops::memory::Copy;
use crate::ops::train::TokenDistill;

impl<B: Backend> Trainer<B> {
    /// Takes a teacher: a dense checkpoint of the same configuration, which from now on shapes the loss as
    /// [`TrainOptions::distill`](crate::train::step::TrainOptions::distill) says.
    ///
    /// # Errors
    /// [`Error::Usage`] when the options have no share for it, and as [`Trainer::load`].
    pub fn teach(&mut self, weights: &dyn Weights) -> Result<()> {
        if self.options.distill == 0.0 {
            return Err(Error::usage(
                "a teacher without a share in the loss",
                "choose one above 0",
            ));
        }
        if self.config.tied && weights.tensor(Config::HEAD_WEIGHT)?.is_some() {
            return Err(Error::usage(
                "the teacher has a head of its own, but the model's head is its embedding",
                "take a teacher with tied embeddings, or quantize the head",
            ));
        }
        let (backend, config, rows) = (&self.backend, &self.config, self.options.n_tokens());
        let half = self.scratch.halves.is_some();
        let scales = self.list.iter().position(|p| p.kind == Kind::Scales);
        let list = &self.list[..scales.unwrap_or(self.list.len())];
        let logits = logit_rows(config, rows, backend.facts().max_words) * config.vocab;
        let formats = teacher::formats(&self.options, config, list, half);
        self.teacher = Some(Teacher {
            tensors: Tensors::load(backend, list, weights, &formats)?,
            quantizer: Quantizer::new(backend, Recipe::FULL, config, (list, &formats), half)?,
            head_in: backend.alloc("teacher's head input", input_words(config, rows, half))?,
            logits: backend.alloc("teacher's logits", logits.next_multiple_of(4))?,
        });
        Ok(())
    }

    /// Refuses to go on without the teacher that the options speak of.
    pub(super) fn check_teacher(&self) -> Result<()> {
        if self.options.distill > 0.0 && self.teacher.is_none() {
            return Err(Error::usage(
                "distillation without a teacher",
                "give one before the first step",
            ));
        }
        Ok(())
    }

    /// Runs the teacher's forward pass. Meanwhile it takes the place of the student, and uses the student's buffers.
    pub(super) async fn ask_teacher(
        &mut self,
        batch: &Batch<'_>,
        given: &Given<'_, B>,
    ) -> Result<()> {
        let Some(mut teacher) = self.teacher.take() else {
            return Ok(());
        };
        self.change_places(&mut teacher);
        let done = self.listen(batch, given, &teacher.head_in).await;
        self.change_places(&mut teacher);
        self.teacher = Some(teacher);
        done
    }

    fn change_places(&mut self, teacher: &mut Teacher<B>) {
        std::mem::swap(&mut self.tensors, &mut teacher.tensors);
        std::mem::swap(&mut self.quantizer, &mut teacher.quantizer);
    }

    /// Runs the teacher up to the input of its head, copies that to `dst`, and makes the head ready.
    async fn listen(
        &mut self,
        batch: &Batch<'_>,
        given: &Given<'_, B>,
        dst: &B::Buffer,
    ) -> Result<()> {
        if given.teacher.is_empty() {
            self.forward(batch, given).await?;
        } else {
            let last = &self.scratch.inputs[self.config.layers];
            self.take(given.teacher, batch.length, last).await?;
        }
        self.quantizer
            .enter_head(&self.backend, &self.list, &self.tensors)
            .await?;
        let rows = batch.tokens.len();
        let input = self.head_input(rows).await?;
        let quads = input_words(&self.config, rows, input.half) / 4;
        self.backend
            .run(&Copy { quads }, &[input.buffer, dst])
            .await
    }

    /// Computes the losses of `rows` tokens of a micro-batch from token `row` on, whose logits are there, and replaces the
    /// logits by the gradient of the mixed loss; targets and losses begin at `first`. Returns `false` without a teacher.
    pub(super) async fn distill(
        &self,
        row: usize,
        rows: usize,
        first: usize,
        factor: f64,
    ) -> Result<bool> {
        let Some(teacher) = &self.teacher else {
            return Ok(false);
        };
        let (c, s) = (&self.config, &self.scratch);
        self.backend.scope(&|| "teacher's head".to_owned());
        let input = Columns {
            half: s.halves.is_some(),
            ..Columns::all(&teacher.head_in, c.hidden)
        };
        let weight = teacher.quantizer.weight(&teacher.tensors, head(c));
        let logits = Columns::all(&teacher.logits, c.vocab);
        self.linear_by(weight, head(c), rows, input.below(row), logits, false)
            .await?;
        self.cap(rows, &teacher.logits).await?;
        let loss = TokenDistill {
            tokens: rows,
            vocab: c.vocab,
            offset: first,
            factor: factor as f32,
            share: self.options.distill as f32,
        };
        self.backend.scope(&|| "loss".to_owned());
        let buffers = [&s.targets, &teacher.logits, &s.logits, &s.losses];
        self.backend.run(&loss, &buffers).await?;
        Ok(true)
    }
}
