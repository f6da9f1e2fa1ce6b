//! Distillation: a full-precision model of the same shape says what the distribution of the next token should be.

use super::Trainer;
use super::formats::Formats;
use super::given::Given;
use super::options::{Batch, TrainOptions};
use super::parameters::{Held, Kind, Parameter, final_norm, head};
use super::product::Columns;
use super::quantizer::{self, Quantizer};
use super::scope::{Holding, Scope};
use super::scratch::logit_rows;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::files::run::Part;
use crate::model::memory::{product, sum};
use crate::model::{Config, Recipe, Weights};
use crate::ops::memory::Copy;
use crate::ops::train::distill::TokenDistill;

/// The teacher, and what it says of the current micro-batch.
pub(super) struct Teacher<B: Backend> {
    /// Values only.
    held: Vec<Held<B>>,
    quantizer: Quantizer<B>,
    /// Input of its head, as products take it.
    head_in: B::Buffer,
    /// Of a portion of the rows.
    logits: B::Buffer,
}

/// Words of [`Teacher::head_in`].
fn input_words(config: &Config, rows: usize, half: bool) -> usize {
    let all = product(&[rows, config.hidden]);
    let words = if half { all / 2 } else { all };
    words.checked_next_multiple_of(4).unwrap_or(usize::MAX)
}

/// What is held of a teacher's parameter: everything, or, where it is told the last residual streams, what follows them.
fn holding(o: &TrainOptions, c: &Config, index: usize) -> Holding {
    match o.scope {
        Scope::Whole => Holding::Used,
        _ if index == final_norm(c) || index == head(c) => Holding::Used,
        _ => Holding::Absent,
    }
}

/// How a teacher's parameters are held.
fn formats(o: &TrainOptions, c: &Config, list: &[Parameter], half: bool) -> Vec<Formats> {
    Formats::used(list, half, |i| holding(o, c, i))
}

/// Words of device memory a teacher takes.
pub(super) fn words(c: &Config, o: &TrainOptions, most: usize, half: bool) -> usize {
    if o.distill == 0.0 {
        return 0;
    }
    let list = o.parameters(c);
    let formats = formats(o, c, &list, half);
    let each = list.iter().zip(&formats);
    let values: usize = each.map(|(p, f)| f.words(Part::Master, p.len())).sum();
    let all = (&list[..], &formats[..]);
    let dense: usize = quantizer::words(Recipe::FULL, c, all, half).iter().sum();
    let logits = logit_rows(c, o.rows(), most) * c.vocab;
    sum([values, dense, logits, input_words(c, o.rows(), half)])
}

impl<B: Backend> Trainer<B> {
    /// Takes a teacher: a dense checkpoint of the same configuration, which from now on shapes the loss as
    /// [`TrainOptions::distill`] says.
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
        let (backend, config, rows) = (&self.backend, &self.config, self.options.rows());
        let half = self.scratch.halves.is_some();
        let scales = self.list.iter().position(|p| p.kind == Kind::Scales);
        let list = &self.list[..scales.unwrap_or(self.list.len())];
        let logits = logit_rows(config, rows, backend.facts().max_words) * config.vocab;
        let formats = formats(&self.options, config, list, half);
        self.teacher = Some(Teacher {
            held: Held::load(backend, list, weights, &formats)?,
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

    /// The teacher's forward pass: it changes places with the student meanwhile, whose buffers it uses.
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
        std::mem::swap(&mut self.held, &mut teacher.held);
        std::mem::swap(&mut self.quantizer, &mut teacher.quantizer);
    }

    /// Up to the head's input, kept in `to`; and the head is made ready.
    async fn listen(
        &mut self,
        batch: &Batch<'_>,
        given: &Given<'_, B>,
        to: &B::Buffer,
    ) -> Result<()> {
        if given.teacher.is_empty() {
            self.forward(batch, given).await?;
        } else {
            let last = &self.scratch.inputs[self.config.layers];
            self.take(given.teacher, batch.length, last).await?;
        }
        self.quantizer
            .enter_head(&self.backend, &self.list, &self.held)
            .await?;
        let rows = batch.tokens.len();
        let input = self.head_input(rows).await?;
        let quads = input_words(&self.config, rows, input.half) / 4;
        self.backend.run(&Copy { quads }, &[input.buffer, to]).await
    }

    /// Losses of `rows` rows from `row` on of a micro-batch, whose logits are there, and the gradient of their mixture
    /// with the teacher's in the logits' place; targets and losses begin at `first`. `false` without a teacher.
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
        let weight = teacher.quantizer.weight(&teacher.held, head(c));
        let logits = Columns::all(&teacher.logits, c.vocab);
        self.linear_by(weight, head(c), rows, input.below(row), logits, false)
            .await?;
        let loss = TokenDistill {
            rows,
            vocab: c.vocab,
            first,
            factor: factor as f32,
            share: self.options.distill as f32,
        };
        self.backend.scope(&|| "loss".to_owned());
        let buffers = [&s.targets, &teacher.logits, &s.logits, &s.losses];
        self.backend.run(&loss, &buffers).await?;
        Ok(true)
    }
}
