//! What a trainer is told: how to train, and on what.

use super::formats::{Masters, Moments};
use super::scope::Scope;
use crate::backend::kernel_for;
use crate::error::{Error, Result};
use crate::model::{Config, Granularity, Method, Recipe, quantize};
use crate::ops::Features;
use crate::ops::train::coop::MatmulTrainCoop;
use crate::ops::train::loss::IGNORED;

/// Lengths of texts whose products are in half precision are multiples of this.
const BLOCK: usize = 128;
/// Sizes of layers and of heads.
pub(super) const SIZE: usize = 64;

/// Decay of the moments of AdamW.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Betas {
    /// Of the first moment.
    pub first: f64,
    /// Of the second moment.
    pub second: f64,
}

/// How to train.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainOptions {
    /// How linear layers are quantized in the forward pass.
    pub recipe: Recipe,
    /// Most tokens of one text.
    pub length: usize,
    /// Most texts of one micro-batch.
    pub texts: usize,
    /// Keep only the inputs of the blocks and of their output projections, and compute the rest again in the backward
    /// pass.
    pub checkpoint: bool,
    /// Decay of the moments.
    pub betas: Betas,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Largest norm of the gradient; beyond it the gradient is scaled down. Infinity: never.
    pub clip: f64,
    /// Products in f32 even where the device multiplies matrices in half precision.
    pub exact: bool,
    /// Share of the divergence from a teacher's distribution in the loss, the rest being the cross entropy; 0: there
    /// is no teacher ([`crate::train::step::Trainer::teach`]).
    pub distill: f64,
    /// Scales are parameters, which begin as those that suit the first codes best; otherwise they are means of what they
    /// stand for, as in the papers. Codes are those of the nearest sum of all stages.
    pub learned_scales: bool,
    /// What the moments of AdamW are held in between steps.
    pub moments: Moments,
    /// What the masters of quantized layers are held in between steps.
    pub masters: Masters,
    /// What the random rounding of moments and masters of fewer bits follows from, with the number of the update.
    pub seed: u64,
    /// Share of the loss with the first stage of each layer alone, the rest being that of all stages; 0: all stages only.
    /// The first stage of a model that was trained so is a model by itself. Scales must be learned, and codes are then
    /// chosen stage by stage.
    pub nested: f64,
    /// Learning rate of scales that are learned, in those of everything else.
    pub scale_rate: f64,
    /// What of the model is trained ([`TrainOptions::within`]).
    pub scope: Scope,
}

impl TrainOptions {
    /// The paper's optimizer (betas 0.9 and 0.95, eps 1e-8, clip 2) for a recipe, with checkpointing.
    pub fn new(recipe: Recipe, texts: usize, length: usize) -> Self {
        Self {
            recipe,
            length,
            texts,
            checkpoint: true,
            betas: Betas {
                first: 0.9,
                second: 0.95,
            },
            eps: 1e-8,
            clip: 2.0,
            exact: false,
            distill: 0.0,
            learned_scales: false,
            moments: Moments::F32,
            masters: Masters::F32,
            seed: 0,
            nested: 0.0,
            scale_rate: 1.0,
            scope: Scope::Whole,
        }
    }

    /// Tokens of the largest micro-batch.
    pub fn rows(&self) -> usize {
        self.texts.saturating_mul(self.length)
    }

    /// The model as it is trained: a quantized head has a weight of its own, which begins as the shared matrix of
    /// tied embeddings. (The papers' code replaces the head's module, and with it the tie.)
    pub fn untied(&self, config: &Config) -> Config {
        let apart = self.recipe.method != Method::Full && !self.recipe.skip_head;
        Config {
            tied: config.tied && !apart,
            ..config.clone()
        }
    }

    /// Whether products take factors in half precision on a device with these abilities: all layers and heads must come
    /// in blocks of 64, and texts in blocks of 128.
    pub(super) fn halves(&self, config: &Config, level: Features) -> bool {
        let layers = config.linears().into_iter();
        let mut sizes = layers.flat_map(|l| [l.out_features, l.in_features]);
        !self.exact
            && kernel_for::<MatmulTrainCoop>(level).is_some()
            && sizes.all(|s| s.is_multiple_of(SIZE))
            && config.head_dim.is_multiple_of(SIZE)
            && self.length.is_multiple_of(BLOCK)
    }

    /// Multiplications and additions of a step on `rows` tokens: linear layers and causal attention, forward and back,
    /// forward again where blocks are computed twice, and the teacher's.
    pub fn work(&self, c: &Config, rows: usize) -> f64 {
        let linears = c.linears();
        let weights: usize = linears.iter().map(|l| l.out_features * l.in_features).sum();
        let head = (c.vocab * c.hidden) as f64;
        let blocks = weights as f64 - head;
        let attention = (c.layers * self.length * c.heads * c.head_dim) as f64;
        let passes = if self.checkpoint { 4.0 } else { 3.0 };
        let teacher = if self.distill > 0.0 { 1.0 } else { 0.0 };
        let each = (passes + teacher) * blocks + (3.0 + teacher) * (head + attention);
        let readings = if self.nested > 0.0 { 2.0 } else { 1.0 };
        2.0 * rows as f64 * each * readings
    }

    /// Refuses what cannot be trained.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the option, or the layer that cannot be quantized so.
    pub fn check(&self, config: &Config) -> Result<()> {
        let refuse = |what: String, hint: &str| Err(Error::usage(what, hint));
        if self.texts == 0 || self.length < 2 {
            let what = format!("micro-batches of {} x {} tokens", self.texts, self.length);
            return refuse(what, "at least one text of two tokens");
        }
        if self.length > config.context {
            let what = format!(
                "texts of {} tokens for a model with a context of {}",
                self.length, config.context
            );
            return refuse(what, "train on shorter sequences");
        }
        for (name, beta) in [("first", self.betas.first), ("second", self.betas.second)] {
            if !(0.0..1.0).contains(&beta) {
                return refuse(format!("a {name} beta of {beta}"), "choose one in [0, 1)");
            }
        }
        if !(self.eps > 0.0 && self.clip > 0.0) {
            let what = format!("eps {} and clip {}", self.eps, self.clip);
            return refuse(what, "both must be positive");
        }
        if !(0.0..=1.0).contains(&self.distill) {
            let what = format!("a teacher's share of {} in the loss", self.distill);
            return refuse(what, "choose one from 0 to 1");
        }
        let phase = matches!(self.recipe.method, Method::Phase { .. } | Method::Mixed(_));
        if self.learned_scales && !phase {
            let what = format!("learned scales of {}", self.recipe);
            return refuse(what, "only the method fairy2i learns its scales");
        }
        if let Granularity::Tile { .. } = self.recipe.granularity {
            let what = format!("training with scales per {}", self.recipe.granularity);
            return refuse(
                what,
                "only error feedback makes them; choose another granularity",
            );
        }
        if !(0.0..1.0).contains(&self.nested) {
            let what = format!("a share of {} of the first stage in the loss", self.nested);
            return refuse(what, "choose one from 0 to less than 1");
        }
        if self.nested > 0.0 && !(self.learned_scales && self.recipe.most_stages() > 1) {
            let what = format!("a first stage by itself of {}", self.recipe);
            return refuse(what, "learn the scales of two stages or more");
        }
        if !(self.scale_rate >= 0.0 && self.scale_rate.is_finite()) {
            let what = format!("scales that learn {} times as fast", self.scale_rate);
            return refuse(what, "choose a number from 0 on");
        }
        self.scope.check(self, config)?;
        quantize::check_all(config, &self.recipe)
    }
}

/// A micro-batch: texts of equal length.
///
/// As in Hugging Face's causal language models, `labels` belong to the tokens themselves: the logits of a token are
/// judged by the label of the next one. Negative labels (-100) are ignored.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Token ids, text after text.
    pub tokens: &'a [u32],
    /// One label per token.
    pub labels: &'a [i32],
    /// Tokens of one text.
    pub length: usize,
}

impl Batch<'_> {
    /// Refuses what does not fit a model of `vocab` tokens trained with `options`.
    /// In `half` precision, texts come in blocks of 128 tokens.
    pub(super) fn check(&self, vocab: usize, options: &TrainOptions, half: bool) -> Result<()> {
        let refuse = |what: String| Err(Error::usage(what, "check the data against the model"));
        let texts = self.tokens.len() / self.length.max(1);
        if self.length < 2 || !self.tokens.len().is_multiple_of(self.length) || texts == 0 {
            return refuse(format!(
                "{} tokens in texts of {}",
                self.tokens.len(),
                self.length
            ));
        }
        if self.length > options.length || texts > options.texts {
            return refuse(format!(
                "a micro-batch of {texts} x {} tokens where at most {} x {} were announced",
                self.length, options.texts, options.length
            ));
        }
        if half && !self.length.is_multiple_of(BLOCK) {
            return refuse(format!(
                "texts of {} tokens, not a multiple of {BLOCK}",
                self.length
            ));
        }
        if self.labels.len() != self.tokens.len() {
            let (tokens, labels) = (self.tokens.len(), self.labels.len());
            return refuse(format!("{labels} labels for {tokens} tokens"));
        }
        let labels = self.labels.iter().filter(|&&l| l >= 0).map(|&l| l as u32);
        let most = self.tokens.iter().copied().chain(labels).max();
        match most {
            Some(id) if id as usize >= vocab => {
                refuse(format!("token {id} where the vocabulary has {vocab}"))
            }
            _ => Ok(()),
        }
    }

    /// The target of every row: the next token's label, none for the last token of a text.
    pub(super) fn targets(&self) -> Vec<u32> {
        let mut targets = vec![IGNORED; self.tokens.len()];
        let texts = targets
            .chunks_exact_mut(self.length)
            .zip(self.labels.chunks_exact(self.length));
        for (targets, labels) in texts {
            for (target, &label) in targets.iter_mut().zip(&labels[1..]) {
                *target = u32::try_from(label).unwrap_or(IGNORED);
            }
        }
        targets
    }
}
