//! The trainer and its step.

use super::departure::{Departure, Goal};
use super::formats::{Formats, Portions};
use super::given::Given;
use super::memory::Memory;
use super::options::{Batch, TrainOptions};
use super::parameters::{EMBED, Parameter, final_norm, of_block};
use super::progress::Progress;
use super::quantizer::{self, Quantizer};
use super::scope::Scope;
use super::scratch::{Scratch, Shape};
use super::teacher::Teacher;
use super::tensors::Tensors;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::{Config, Weights};
use crate::ops::sampling::IGNORED;
use crate::ops::train::GradNorm;
use crate::ranks::One;

/// A model in training on a device.
pub struct Trainer<B: Backend> {
    pub(super) backend: B,
    pub(super) config: Config,
    pub(super) options: TrainOptions,
    pub(super) list: Vec<Parameter>,
    pub(super) tensors: Vec<Tensors<B>>,
    pub(super) quantizer: Quantizer<B>,
    pub(super) scratch: Scratch<B>,
    pub(super) progress: Progress,
    /// Gradients beyond it are outliers.
    pub(super) most_norm: f64,
    pub(super) teacher: Option<Teacher<B>>,
    /// Buffers in which tensors of fewer bits are updated.
    pub(super) portions: Option<Portions<B>>,
    /// Gradients on their way to other ranks, once there was a step among some.
    pub(super) departure: Option<Departure<B>>,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Mean loss of the tokens that count, before the update.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Nothing was changed: the loss or the gradient was not finite, or the gradient an outlier.
    pub skipped: bool,
    /// What the loss was multiplied by, so that small gradients survive half precision.
    pub scale: f64,
    /// Tokens that counted.
    pub tokens: usize,
}

impl<B: Backend> Trainer<B> {
    /// Trains on from `weights`, a dense checkpoint.
    ///
    /// # Errors
    /// [`Error::Usage`] for options that make no sense, [`Error::Tensors`] and [`Error::NonFinite`] for weights that
    /// do not fit, [`Error::Device`] when memory does not suffice, which is found out before anything is allocated.
    pub fn load(
        backend: B,
        config: &Config,
        weights: &dyn Weights,
        options: TrainOptions,
    ) -> Result<Self> {
        Self::new(backend, config, options, |backend, list, formats| {
            Tensors::load(backend, list, weights, formats)
        })
    }

    /// Trains from scratch: matrices normal with deviation 0.02 (of complex ones each part with 0.02 / sqrt 2), norms of one.
    ///
    /// # Errors
    /// As [`Trainer::load`].
    pub fn from_scratch(
        backend: B,
        config: &Config,
        options: TrainOptions,
        seed: u64,
    ) -> Result<Self> {
        if options.scope != Scope::Whole {
            return Err(Error::usage(
                "a part of a model from scratch",
                "train the whole model",
            ));
        }
        Self::new(backend, config, options, |backend, list, formats| {
            Tensors::random(backend, list, seed, formats)
        })
    }

    fn new(
        backend: B,
        config: &Config,
        options: TrainOptions,
        hold: impl FnOnce(&B, &[Parameter], &[Formats]) -> Result<Vec<Tensors<B>>>,
    ) -> Result<Self> {
        options.check(config)?;
        let (level, most) = (backend.facts().features, backend.facts().max_words);
        Memory::of(config, &options, level, most).check(&backend)?;
        let config = options.part(config);
        let mut list = options.parameters(&config);
        let half = options.halves(&config, backend.facts().features);
        let weights = list.len();
        if options.learned_scales {
            list.extend(quantizer::scales(options.recipe, &config, &list));
        }
        let formats = Formats::trained(&options, &config, &list);
        let mut tensors = hold(&backend, &list[..weights], &formats)?;
        for (parameter, &formats) in list.iter().zip(&formats).skip(weights) {
            tensors.push(Tensors::new(&backend, parameter, formats)?);
        }
        let shares: usize = list.iter().map(|p| norm_of(p, 0).partials()).sum();
        let stream = GradNorm {
            n: options.n_tokens() * config.hidden,
            offset: 0,
        };
        let shares = shares.max(stream.partials());
        let mut quantizer =
            Quantizer::new(&backend, options.recipe, &config, (&list, &formats), half)?;
        if options.nested > 0.0 {
            quantizer.nest(&backend, &list)?;
        }
        if options.scope == Scope::Scales {
            quantizer.share_gradients(&backend, &list)?;
        }
        Ok(Self {
            quantizer,
            scratch: Scratch::new(&backend, &config, &options, shares, half)?,
            progress: Progress::new(half),
            most_norm: f64::INFINITY,
            teacher: None,
            portions: Portions::new(&backend, &formats, &list)?,
            departure: None,
            config,
            options,
            list,
            tensors,
            backend,
        })
    }

    /// The device.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The model's configuration, as [`TrainOptions::untied`] makes it.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How it is trained.
    pub fn options(&self) -> &TrainOptions {
        &self.options
    }

    /// The parameters that are trained.
    pub(super) fn trained(&self) -> impl Iterator<Item = (&Parameter, &Tensors<B>)> {
        let all = self.list.iter().zip(&self.tensors);
        all.filter(|(_, tensors)| tensors.formats.moments.is_some())
    }

    /// One step of AdamW on the mean loss of all tokens that count in `batches`. A loss or gradient that is not finite
    /// leaves everything as it was, but for the loss scale.
    ///
    /// # Errors
    /// [`Error::Usage`] for batches that do not fit, [`Error::Device`] from the device.
    pub async fn step(
        &mut self,
        batches: &[Batch<'_>],
        lr: f64,
        weight_decay: f64,
    ) -> Result<StepReport> {
        self.step_given(batches, Given::NOTHING, lr, weight_decay)
            .await
    }

    /// [`Trainer::step`] with residual streams that are known already, one for every sequence of `batches`.
    ///
    /// # Errors
    /// As [`Trainer::step`], and for streams that are missing or not asked for.
    pub async fn step_given(
        &mut self,
        batches: &[Batch<'_>],
        given: Given<'_, B>,
        lr: f64,
        weight_decay: f64,
    ) -> Result<StepReport> {
        let tokens = some_count(self.prepare(batches).await?)?;
        self.check_teacher()?;
        let n_seqs = batches.iter().map(|batch| shape(batch).n_seqs).sum();
        let taught = self.options.distill > 0.0;
        given.check(self.options.scope, n_seqs, taught)?;
        self.clear().await?;
        let scale = self.progress.scale();
        let factor = scale / tokens as f64;
        let loss = self.passes(batches, &given, factor, None).await?;
        self.finish(&One, loss / tokens as f64, tokens, (lr, weight_decay))
            .await
    }

    /// Adds the gradients of all batches, of all readings of the weights, which leave for their goal if there is one, as soon
    /// as they are complete; returns the sum of the losses.
    pub(super) async fn passes(
        &mut self,
        batches: &[Batch<'_>],
        given: &Given<'_, B>,
        factor: f64,
        goal: Option<Goal<'_>>,
    ) -> Result<f64> {
        match self.options.nested {
            0.0 => self.pass(batches, given, factor, goal).await,
            share => self.both(batches, given, share, factor).await,
        }
    }

    /// [`Trainer::passes`] of one reading.
    async fn pass(
        &mut self,
        batches: &[Batch<'_>],
        given: &Given<'_, B>,
        factor: f64,
        goal: Option<Goal<'_>>,
    ) -> Result<f64> {
        let (mut row, mut seq) = (0, 0);
        for (i, batch) in batches.iter().enumerate() {
            let given = given.of(seq..seq + shape(batch).n_seqs);
            self.ask_teacher(batch, &given).await?;
            self.forward(batch, &given).await?;
            let last = goal.filter(|_| i + 1 == batches.len());
            self.backward(batch, row, factor, last).await?;
            row += batch.tokens.len();
            seq += shape(batch).n_seqs;
        }
        if let Some(goal) = goal {
            self.arrive(goal).await?;
        }
        self.quantizer
            .scale_gradients(&self.backend, &self.list, &self.tensors)
            .await?;
        Ok(self.losses(row).await?.iter().sum())
    }

    /// [`Trainer::pass`] with all stages, and then with the first one, to which `share` of the loss belongs. In this order
    /// the gradients of the first stage's scales are those of both, since a weight's gradient is a sum over the passes.
    async fn both(
        &mut self,
        batches: &[Batch<'_>],
        given: &Given<'_, B>,
        share: f64,
        factor: f64,
    ) -> Result<f64> {
        let chosen = self.quantizer.reads_first();
        let mut loss = 0.0;
        for (first, share) in [(false, 1.0 - share), (true, share)] {
            self.quantizer.read_first(first);
            loss += share * self.pass(batches, given, share * factor, None).await?;
        }
        self.quantizer.read_first(chosen);
        Ok(loss)
    }

    /// Sum of the losses of the tokens that count in `batches`, and their number, with weights as they are deployed.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub async fn evaluate(&mut self, batches: &[Batch<'_>]) -> Result<(f64, usize)> {
        let tokens = self.prepare(batches).await?;
        let mut row = 0;
        for batch in batches {
            self.forward(batch, &Given::NOTHING).await?;
            self.loss(batch.tokens.len(), row, None).await?;
            row += batch.tokens.len();
        }
        Ok((self.losses(row).await?.iter().sum(), tokens))
    }

    /// Checks the batches, uploads their targets, and quantizes; returns how many tokens count.
    pub(super) async fn prepare(&mut self, batches: &[Batch<'_>]) -> Result<usize> {
        self.check_batches(batches)?;
        let targets: Vec<u32> = batches.iter().flat_map(Batch::targets).collect();
        self.scratch.reserve(&self.backend, targets.len())?;
        self.backend.upload(&self.scratch.targets, 0, &targets)?;
        self.refresh().await?;
        Ok(targets.iter().filter(|&&t| t != IGNORED).count())
    }

    /// Refuses batches that do not fit.
    pub(super) fn check_batches(&self, batches: &[Batch<'_>]) -> Result<()> {
        let half = self.scratch.halves.is_some();
        let mut checked = batches
            .iter()
            .map(|batch| batch.check(self.config.vocab, &self.options, half));
        checked.try_for_each(|fits| fits)
    }

    /// Makes codes and scales from the current masters.
    pub(super) async fn refresh(&mut self) -> Result<()> {
        if self.options.scope == Scope::Scales && !self.quantizer.is_fixed() {
            return Err(Error::usage(
                "scales without codes",
                "give the codes before the first step",
            ));
        }
        self.check_shared()?;
        self.quantizer
            .refresh(&self.backend, &self.list, &self.tensors)
            .await
    }

    pub(super) async fn forward(&mut self, batch: &Batch<'_>, given: &Given<'_, B>) -> Result<()> {
        if self.options.scope == Scope::Head {
            let first = &self.scratch.inputs[0];
            self.take(given.inputs, batch.length, first).await?;
        } else {
            self.embed(batch.tokens).await?;
        }
        for l in 0..self.config.layers {
            self.block(l, shape(batch)).await?;
        }
        Ok(())
    }

    /// Adds the gradients of a batch, whose targets begin at `row`. With a goal, they leave for it.
    async fn backward(
        &mut self,
        batch: &Batch<'_>,
        row: usize,
        factor: f64,
        goal: Option<Goal<'_>>,
    ) -> Result<()> {
        self.loss(batch.tokens.len(), row, Some(factor)).await?;
        let behind = final_norm(&self.config).max(EMBED + 1);
        self.leave(goal, behind..self.list.len()).await?;
        for l in (0..self.config.layers).rev() {
            // The last block's activations are still there.
            let again = self.options.checkpoint && l + 1 < self.config.layers;
            self.block_backward(l, shape(batch), again).await?;
            self.leave(goal, of_block(&self.config, l)).await?;
        }
        if self.options.scope == Scope::Whole {
            self.embed_backward(batch.tokens).await?;
        }
        self.leave(goal, EMBED..EMBED + 1).await
    }

    async fn losses(&self, rows: usize) -> Result<Vec<f64>> {
        let words = self.backend.download(&self.scratch.losses, 0, rows).await?;
        Ok(words
            .into_iter()
            .map(|w| f64::from(f32::from_bits(w)))
            .collect())
    }
}

/// How many tokens of a step count, of which there must be some.
pub(super) fn some_count(tokens: usize) -> Result<usize> {
    match tokens {
        0 => Err(Error::usage(
            "no token of the step has a label",
            "check the data",
        )),
        tokens => Ok(tokens),
    }
}

fn shape(batch: &Batch<'_>) -> Shape {
    Shape {
        n_seqs: batch.tokens.len() / batch.length,
        length: batch.length,
    }
}

/// The op that adds up a parameter's squares.
pub(super) fn norm_of(parameter: &Parameter, first: usize) -> GradNorm {
    GradNorm {
        n: parameter.len(),
        offset: first,
    }
}
