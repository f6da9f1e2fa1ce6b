//! The trainer and its step.

use super::formats::{Formats, Portions};
use super::memory::Memory;
use super::options::{Batch, TrainOptions};
use super::parameters::{Held, Kind, Parameter, parameters};
use super::quantizer::{self, Quantizer};
use super::scratch::{Scratch, Shape};
use super::state::Progress;
use super::teacher::Teacher;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::{Config, Weights};
use crate::ops::train::fill::Fill;
use crate::ops::train::loss::IGNORED;
use crate::ops::train::optimizer::{GradNorm, Update};

/// A model in training on a device.
pub struct Trainer<B: Backend> {
    pub(super) backend: B,
    pub(super) config: Config,
    pub(super) options: TrainOptions,
    pub(super) list: Vec<Parameter>,
    pub(super) held: Vec<Held<B>>,
    pub(super) quantizer: Quantizer<B>,
    pub(super) scratch: Scratch<B>,
    pub(super) progress: Progress,
    /// Gradients beyond it are outliers.
    pub(super) most_norm: f64,
    pub(super) teacher: Option<Teacher<B>>,
    /// Where what is held in fewer bits is updated.
    pub(super) portions: Option<Portions<B>>,
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
            Held::load(backend, list, weights, formats)
        })
    }

    /// Trains from scratch: matrices normal with deviation 0.02, norms of one.
    ///
    /// # Errors
    /// As [`Trainer::load`].
    pub fn from_scratch(
        backend: B,
        config: &Config,
        options: TrainOptions,
        seed: u64,
    ) -> Result<Self> {
        Self::new(backend, config, options, |backend, list, formats| {
            Held::random(backend, list, seed, formats)
        })
    }

    fn new(
        backend: B,
        config: &Config,
        options: TrainOptions,
        hold: impl FnOnce(&B, &[Parameter], &[Formats]) -> Result<Vec<Held<B>>>,
    ) -> Result<Self> {
        options.check(config)?;
        let (level, most) = (backend.facts().features, backend.facts().max_words);
        Memory::of(config, &options, level, most).check(&backend)?;
        let config = options.untied(config);
        let mut list = parameters(&config);
        let half = options.halves(&config, backend.facts().features);
        let weights = list.len();
        if options.learned_scales {
            list.extend(quantizer::scales(options.recipe, &config, &list));
        }
        let formats = Formats::trained(&options, &config, &list);
        let mut held = hold(&backend, &list[..weights], &formats)?;
        for (parameter, &formats) in list.iter().zip(&formats).skip(weights) {
            held.push(Held::new(&backend, parameter, formats)?);
        }
        let shares = list.iter().map(|p| norm_of(p, 0).shares()).sum();
        let mut quantizer =
            Quantizer::new(&backend, options.recipe, &config, (&list, &formats), half)?;
        if options.nested > 0.0 {
            quantizer.nest(&backend, &list)?;
        }
        Ok(Self {
            quantizer,
            scratch: Scratch::new(&backend, &config, &options, shares, half)?,
            progress: Progress::new(half),
            most_norm: f64::INFINITY,
            teacher: None,
            portions: Portions::new(&backend, &formats, &list)?,
            config,
            options,
            list,
            held,
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
        let tokens = self.prepare(batches).await?;
        if tokens == 0 {
            return Err(Error::usage(
                "no token of the step has a label",
                "check the data",
            ));
        }
        self.check_teacher()?;
        self.clear().await?;
        let scale = self.progress.scale();
        let loss = match self.options.nested {
            0.0 => self.pass(batches, scale / tokens as f64).await?,
            share => self.both(batches, share, scale / tokens as f64).await?,
        };
        let loss = loss / tokens as f64;
        let grad_norm = self.grad_norm().await? / scale;
        let finite = loss.is_finite() && grad_norm.is_finite();
        let skipped = !finite || grad_norm > self.most_norm;
        if !skipped {
            self.update(grad_norm, lr, weight_decay).await?;
        }
        let outlier = finite && skipped;
        if !outlier {
            self.progress.note(skipped); // an outlier says nothing of the scale
        }
        Ok(StepReport {
            loss,
            grad_norm,
            skipped,
            scale,
            tokens,
        })
    }

    /// Adds the gradients of all batches; returns the sum of the losses.
    async fn pass(&mut self, batches: &[Batch<'_>], factor: f64) -> Result<f64> {
        let mut row = 0;
        for batch in batches {
            self.ask_teacher(batch).await?;
            self.forward(batch).await?;
            self.backward(batch, row, factor).await?;
            row += batch.tokens.len();
        }
        self.quantizer
            .scale_gradients(&self.backend, &self.list, &self.held)
            .await?;
        Ok(self.losses(row).await?.iter().sum())
    }

    /// [`Trainer::pass`] with all stages, and then with the first one, to which `share` of the loss belongs. In this order
    /// the gradients of the first stage's scales are those of both, since a weight's gradient is a sum over the passes.
    async fn both(&mut self, batches: &[Batch<'_>], share: f64, factor: f64) -> Result<f64> {
        let chosen = self.quantizer.reads_first();
        let mut loss = 0.0;
        for (first, share) in [(false, 1.0 - share), (true, share)] {
            self.quantizer.read_first(first);
            loss += share * self.pass(batches, share * factor).await?;
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
            self.forward(batch).await?;
            self.loss(batch.tokens.len(), row, None).await?;
            row += batch.tokens.len();
        }
        Ok((self.losses(row).await?.iter().sum(), tokens))
    }

    /// Checks the batches, uploads their targets, and quantizes; returns how many tokens count.
    async fn prepare(&mut self, batches: &[Batch<'_>]) -> Result<usize> {
        let mut targets = Vec::new();
        for batch in batches {
            batch.check(
                self.config.vocab,
                &self.options,
                self.scratch.halves.is_some(),
            )?;
            targets.extend(batch.targets());
        }
        self.scratch.reserve(&self.backend, targets.len())?;
        self.backend.upload(&self.scratch.targets, 0, &targets)?;
        self.refresh().await?;
        Ok(targets.iter().filter(|&&t| t != IGNORED).count())
    }

    /// Codes and scales of the current masters.
    pub(super) async fn refresh(&mut self) -> Result<()> {
        self.quantizer
            .refresh(&self.backend, &self.list, &self.held)
            .await
    }

    pub(super) async fn forward(&mut self, batch: &Batch<'_>) -> Result<()> {
        self.embed(batch.tokens).await?;
        for l in 0..self.config.layers {
            self.block(l, shape(batch)).await?;
        }
        Ok(())
    }

    /// Adds the gradients of a batch, whose targets begin at `row`.
    async fn backward(&mut self, batch: &Batch<'_>, row: usize, factor: f64) -> Result<()> {
        self.loss(batch.tokens.len(), row, Some(factor)).await?;
        for l in (0..self.config.layers).rev() {
            // the last block's activations are still there
            let again = self.options.checkpoint && l + 1 < self.config.layers;
            self.block_backward(l, shape(batch), again).await?;
        }
        self.embed_backward(batch.tokens).await
    }

    /// Sets all gradients to zero.
    async fn clear(&self) -> Result<()> {
        self.backend.at(&|| "clearing gradients".to_owned());
        for (parameter, held) in self.list.iter().zip(&self.held) {
            let fill = Fill {
                words: parameter.len(),
                value: 0,
            };
            self.backend.run(&fill, &[&held.gradient]).await?;
        }
        Ok(())
    }

    async fn losses(&self, rows: usize) -> Result<Vec<f64>> {
        let words = self.backend.download(&self.scratch.losses, 0, rows).await?;
        Ok(words
            .into_iter()
            .map(|w| f64::from(f32::from_bits(w)))
            .collect())
    }

    /// The norm of all gradients together, not yet divided by the loss scale; infinity if one is not finite.
    async fn grad_norm(&self) -> Result<f64> {
        let s = &self.scratch;
        self.backend.at(&|| "gradient norm".to_owned());
        let mut shares = 0;
        for (parameter, held) in self.list.iter().zip(&self.held) {
            let op = norm_of(parameter, shares);
            self.backend
                .run(&op, &[&held.gradient, &s.squares, &s.largest])
                .await?;
            shares += op.shares();
        }
        let squares = self.backend.download(&s.squares, 0, shares).await?;
        let largest = self.backend.download(&s.largest, 0, shares).await?;
        if largest.iter().any(|&bits| bits >= f32::INFINITY.to_bits()) {
            return Ok(f64::INFINITY);
        }
        let squares = squares.into_iter().map(|w| f64::from(f32::from_bits(w)));
        Ok(squares.sum::<f64>().sqrt())
    }

    /// AdamW on every parameter, with the gradient clipped as `torch.nn.utils.clip_grad_norm_` does.
    async fn update(&mut self, grad_norm: f64, lr: f64, weight_decay: f64) -> Result<()> {
        let clip = (self.options.clip / (grad_norm + 1e-6)).min(1.0);
        let update = Update {
            factor: clip / self.progress.scale(),
            beta1: self.options.betas.first,
            beta2: self.options.betas.second,
            eps: self.options.eps,
            lr,
            weight_decay,
            step: self.progress.updates + 1,
        };
        self.backend.at(&|| "AdamW".to_owned());
        for (index, parameter) in self.list.iter().enumerate() {
            // a logarithm that shrinks towards 0 is a scale that grows towards 1
            let decay = match parameter.kind {
                Kind::Scales => 0.0,
                _ => weight_decay,
            };
            let update = Update {
                weight_decay: decay,
                ..update
            };
            self.update_one(index, update).await?;
        }
        self.quantizer.stale();
        Ok(())
    }
}

fn shape(batch: &Batch<'_>) -> Shape {
    Shape {
        texts: batch.tokens.len() / batch.length,
        length: batch.length,
    }
}

/// The op that adds up a parameter's squares.
fn norm_of(parameter: &Parameter, first: usize) -> GradNorm {
    GradNorm {
        n: parameter.len(),
        first,
    }
}
