//! What a trainer is told: how to train, and on what.

use super::parameters::{EMBED, Kind, Parameter, final_norm, of_block, parameters};
use super::precision::{Masters, Moments};
use super::scope::{Holding, SIZE, Scope};
use super::shard::Shard;
use crate::backend::kernel_for;
use crate::error::{Error, Result};
use crate::model::{Config, Form, Method, Recipe, quantize, refuse_experts};
use crate::ops::Features;
use crate::ops::quantize::Activations;
use crate::ops::sampling::IGNORED;
use crate::ops::train::MatmulTrainCoop;

/// Lengths of sequences whose products are in half precision are multiples of this.
pub(super) const BLOCK: usize = 128;

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
    /// Most tokens of one sequence.
    pub length: usize,
    /// Most sequences of one micro-batch.
    pub n_seqs: usize,
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
    /// In what format the moments of AdamW stay between steps.
    pub moments: Moments,
    /// In what format the masters of quantized layers stay between steps.
    pub masters: Masters,
    /// What the random rounding of moments and masters of fewer bits follows from, with the number of the update.
    pub seed: u64,
    /// Share of the loss with the first stage of each layer alone, the rest being that of all stages; 0: all stages only.
    /// The first stage of a model that was trained so is a model by itself. Scales must be learned, and codes are then
    /// chosen stage by stage.
    pub nested: f64,
    /// Learning rate of scales that are learned, in those of everything else.
    pub scale_rate: f64,
    /// How activations enter quantized layers on the way forward. Gradients pass as if they were not rounded.
    pub activations: Activations,
    /// What of the model is trained ([`TrainOptions::within`]).
    pub scope: Scope,
    /// Which share of masters and moments this trainer holds, where ranks train together; none: all of them.
    pub shard: Option<Shard>,
}

impl TrainOptions {
    /// The paper's optimizer (betas 0.9 and 0.95, eps 1e-8, clip 2) for a recipe, with checkpointing.
    pub fn new(recipe: Recipe, n_seqs: usize, length: usize) -> Self {
        Self {
            recipe,
            length,
            n_seqs,
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
            activations: Activations::Float,
            scope: Scope::Whole,
            shard: None,
        }
    }

    /// Tokens of the largest micro-batch.
    pub fn n_tokens(&self) -> usize {
        self.n_seqs.saturating_mul(self.length)
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

    /// Whether products take factors in half precision on a device with these abilities: all layers must come in
    /// blocks of 64, and sequences in blocks of 128.
    pub(super) fn halves(&self, config: &Config, level: Features) -> bool {
        let layers = config.linears().into_iter();
        let mut sizes = layers.flat_map(|l| [l.out_features, l.in_features]);
        !self.exact
            && kernel_for::<MatmulTrainCoop>(level).is_some()
            && sizes.all(|s| s.is_multiple_of(SIZE))
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

    /// Refuses shares of the loss, and scales, that cannot be.
    fn check_loss(&self) -> Result<()> {
        let refuse = |what: String, hint: &str| Err(Error::usage(what, hint));
        if !(0.0..=1.0).contains(&self.distill) {
            let what = format!("a teacher's share of {} in the loss", self.distill);
            return refuse(what, "choose one from 0 to 1");
        }
        let phase = matches!(self.recipe.method, Method::Phase { .. } | Method::Mixed(_));
        if self.learned_scales && !phase {
            let what = format!("learned scales of {}", self.recipe);
            return refuse(what, "only the method fairy2i learns its scales");
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
        Ok(())
    }

    /// Refuses what needs the masters of all layers on every rank.
    fn check_shard(&self) -> Result<()> {
        let Some(shard) = self.shard else {
            return Ok(());
        };
        if shard.rank >= shard.ranks || self.learned_scales || self.scope != Scope::Whole {
            return Err(Error::usage(
                format!(
                    "masters dealt to {} ranks with learned scales, or of a part of a model",
                    shard.ranks
                ),
                "take means as scales, or let every rank hold all masters",
            ));
        }
        Ok(())
    }

    /// Refuses what complex layers cannot have.
    fn check_complex(&self, config: &Config) -> Result<()> {
        let complex = config.linears().iter().any(|l| l.form == Form::Conjugate);
        let what = match (self.learned_scales, self.recipe.rotated) {
            (true, _) => "learned scales",
            (_, true) => "rotated inputs",
            _ => return Ok(()),
        };
        if complex {
            return Err(Error::usage(
                format!(
                    "{what} of a {}, which has complex layers",
                    config.architecture
                ),
                "take means as scales, and inputs as they are",
            ));
        }
        Ok(())
    }

    /// Refuses what cannot be trained.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the option, or the layer that cannot be quantized so.
    pub fn check(&self, config: &Config) -> Result<()> {
        let refuse = |what: String, hint: &str| Err(Error::usage(what, hint));
        refuse_experts(config, "training")?;
        if config.blueprint().centered {
            let what = format!(
                "training of a {}, whose norms subtract the mean",
                config.architecture
            );
            return refuse(what, "take a model of another family");
        }
        if self.n_seqs == 0 || self.length < 2 {
            let what = format!("micro-batches of {} x {} tokens", self.n_seqs, self.length);
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
        self.check_loss()?;
        self.check_shard()?;
        self.check_complex(config)?;
        self.scope
            .check(config, self.recipe.skip_head, self.learned_scales)?;
        quantize::check_all(config, &self.recipe)
    }
}

impl TrainOptions {
    /// The same for a part of the model.
    pub fn within(mut self, scope: Scope) -> Self {
        self.recipe.skip_head |= matches!(scope, Scope::Block(_));
        Self { scope, ..self }
    }

    /// The part that is trained as a model by itself, its head as [`TrainOptions::untied`] has it.
    pub(super) fn part(&self, config: &Config) -> Config {
        self.scope.config(&self.untied(config))
    }

    /// Parameters of [`TrainOptions::part`], with the names that they have in the whole model.
    pub(super) fn parameters(&self, part: &Config) -> Vec<Parameter> {
        let mut all = parameters(part);
        if let Scope::Block(l) = self.scope {
            let names = [0, l].map(|l| format!("{}.", part.block_name(l)));
            for parameter in &mut all[of_block(part, 0)] {
                parameter.name = parameter.name.replacen(&names[0], &names[1], 1);
            }
        }
        all
    }

    /// What is on the device of parameter `index` of [`TrainOptions::part`].
    pub(super) fn holding(&self, part: &Config, index: usize, parameter: &Parameter) -> Holding {
        let dense_head = self.recipe.skip_head && index > final_norm(part);
        match (self.scope, parameter.kind) {
            (Scope::Whole, _) | (_, Kind::Scales) => Holding::Trained,
            (Scope::Block(_), _) if index == EMBED || index >= final_norm(part) => Holding::Absent,
            (Scope::Head, Kind::Embedding) => Holding::Absent,
            (Scope::Block(_) | Scope::Head, _) | (Scope::Scales, Kind::Norm | Kind::Bias) => {
                Holding::Trained
            }
            (Scope::Scales, Kind::Linear) if !dense_head => Holding::Absent,
            (Scope::Scales, _) => Holding::Used,
        }
    }
}

/// A micro-batch: sequences of equal length.
///
/// As in Hugging Face's causal language models, `labels` belong to the tokens themselves: the logits of a token are
/// judged by the label of the next one. Negative labels (-100) are ignored.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Token ids, sequence after sequence.
    pub tokens: &'a [u32],
    /// One label per token.
    pub labels: &'a [i32],
    /// Tokens of one sequence.
    pub length: usize,
}

impl Batch<'_> {
    /// Refuses what does not fit a model of `vocab` tokens trained with `options`.
    /// In `half` precision, sequences come in blocks of 128 tokens.
    pub(super) fn check(&self, vocab: usize, options: &TrainOptions, half: bool) -> Result<()> {
        let refuse = |what: String| Err(Error::usage(what, "check the data against the model"));
        let n_seqs = self.tokens.len() / self.length.max(1);
        if self.length < 2 || !self.tokens.len().is_multiple_of(self.length) || n_seqs == 0 {
            return refuse(format!(
                "{} tokens in texts of {}",
                self.tokens.len(),
                self.length
            ));
        }
        if self.length > options.length || n_seqs > options.n_seqs {
            return refuse(format!(
                "a micro-batch of {n_seqs} x {} tokens where at most {} x {} were announced",
                self.length, options.n_seqs, options.length
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

    /// Tokens that have a target.
    pub(super) fn counted(&self) -> usize {
        let targets = self.targets();
        targets.iter().filter(|&&target| target != IGNORED).count()
    }

    /// The target of every row: the next token's label, none for the last token of a sequence.
    pub(super) fn targets(&self) -> Vec<u32> {
        let mut targets = vec![IGNORED; self.tokens.len()];
        let sequences = targets
            .chunks_exact_mut(self.length)
            .zip(self.labels.chunks_exact(self.length));
        for (targets, labels) in sequences {
            for (target, &label) in targets.iter_mut().zip(&labels[1..]) {
                *target = u32::try_from(label).unwrap_or(IGNORED);
            }
        }
        targets
    }
}
