//! All settings of a run: what `config.toml` holds.

use super::evaluate::Protocol;
use super::method::{MethodName, RoundedTo, ScaleRule};
use crate::error::{Error, Result};
use crate::files::run::Step;
use crate::model::{Granularity, Method, Recipe};
use crate::random;
use crate::train::step::{Masters, Moments};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Fields that may change when a run is resumed.
pub const FREE: [&str; 7] = [
    "shard",
    "save_every",
    "eval_every",
    "eval",
    "eval_protocol",
    "keep",
    "allow_nonfinite", // of the weights before the first step
];

/// Steps that say what a usual gradient is.
const RECENT: usize = 64;

/// Keeps the draws of nested steps apart from those of the order of the data, which has the same seed.
const NESTED: u64 = u64::from_be_bytes(*b"nested\0\0");

/// Settings with their defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Folder of the model to begin with.
    pub model: PathBuf,
    /// Only its shape and tokenizer.
    pub from_scratch: bool,
    /// Folder of training data.
    pub data: PathBuf,
    /// Representation of the linear layers.
    pub method: MethodName,
    /// Residual stages of fairy2i.
    pub stages: u8,
    /// `tensor`, `row`, `group:N`, `tile:N` or `tile:RxN`.
    pub granularity: String,
    /// How activations enter quantized layers on the way forward. Runs that began before there was a choice do not name it.
    #[serde(skip_serializing_if = "RoundedTo::is_usual")]
    pub activations: RoundedTo,
    /// Where scales come from.
    pub scales: ScaleRule,
    /// Probability that a step runs with one stage.
    pub nested: f64,
    /// Steps in which quantized weights take over from full-precision ones.
    pub quant_warmup: u64,
    /// Share of the divergence from the teacher in the loss.
    pub distill: f64,
    /// Folder of the teacher; empty: the model to begin with.
    pub teacher: PathBuf,
    /// Leave the head in full precision.
    pub skip_lm_head: bool,
    /// Steps of the whole run.
    pub steps: u64,
    /// Tokens of a sequence; 0: a block of the data.
    pub seq: usize,
    /// Texts at once.
    pub micro_batch: usize,
    /// Tokens of a step; 0: one micro-batch.
    pub batch_tokens: usize,
    /// Groups that the micro-batches of a step are dealt to, whose gradients are summed each by itself and then together:
    /// ranks take whole groups. 0: as many as there are ranks when the run begins.
    #[serde(skip_serializing_if = "is_zero")]
    pub groups: usize,
    /// Masters and moments are dealt to the ranks. No bit depends on it.
    #[serde(skip_serializing_if = "is_false")]
    pub shard: bool,
    /// Learning rate.
    pub lr: f64,
    /// Steps of warm-up.
    pub warmup: u64,
    /// Name of the schedule.
    pub schedule: String,
    /// First step of the decay; 0: the end of the warm-up.
    pub decay_from: u64,
    /// Factor at the end.
    pub floor: f64,
    /// Corners of `wsd`.
    pub decays: Vec<String>,
    /// Weight decay.
    pub weight_decay: f64,
    /// In the first half only.
    pub decay_first_half: bool,
    /// Of AdamW.
    pub betas: [f64; 2],
    /// Of AdamW.
    pub eps: f64,
    /// Largest norm of the gradient.
    pub clip: f64,
    /// A step is skipped if its gradient is more than this factor times the median of those before; 0: none is.
    pub outlier: f64,
    /// Of data and random weights.
    pub seed: u64,
    /// What AdamW's moments are held in.
    pub moments: Moments,
    /// What the masters of quantized layers are held in.
    pub masters: Masters,
    /// Products in f32.
    pub exact: bool,
    /// No gradient checkpointing.
    pub keep_activations: bool,
    /// Begin with 0 where a weight is NaN or infinite.
    pub allow_nonfinite: bool,
    /// Steps between checkpoints.
    pub save_every: u64,
    /// Checkpoints that stay.
    pub keep: usize,
    /// Texts to measure.
    pub eval: Vec<PathBuf>,
    /// How they are measured.
    pub eval_protocol: Protocol,
    /// Steps between measurements.
    pub eval_every: u64,
}

/// Whether a number is not said: runs that began before there were groups do not name them.
fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// Whether something is left out.
fn is_false(given: &bool) -> bool {
    !given
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: PathBuf::new(),
            from_scratch: false,
            data: PathBuf::new(),
            method: MethodName::Fairy2i,
            stages: 2,
            granularity: "tensor".into(),
            activations: RoundedTo::Float,
            scales: ScaleRule::Means,
            nested: 0.0,
            quant_warmup: 0,
            distill: 0.0,
            teacher: PathBuf::new(),
            skip_lm_head: false,
            steps: 1000,
            seq: 0,
            micro_batch: 8,
            batch_tokens: 0,
            groups: 0,
            shard: false,
            lr: 1e-3,
            warmup: 0,
            schedule: "constant".into(),
            decay_from: 0,
            floor: 0.0,
            decays: Vec::new(),
            weight_decay: 0.0,
            decay_first_half: false,
            betas: [0.9, 0.95],
            eps: 1e-8,
            clip: 2.0,
            outlier: 0.0,
            seed: 42,
            moments: Moments::F32,
            masters: Masters::F32,
            exact: false,
            keep_activations: false,
            allow_nonfinite: false,
            save_every: 100,
            keep: 2,
            eval: Vec::new(),
            eval_protocol: Protocol::Blocks,
            eval_every: 100,
        }
    }
}

impl Settings {
    /// Refuses what makes no sense before anything is opened.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the option.
    pub fn check(&self) -> Result<()> {
        let bad = |what: &str, hint: &str| Err(Error::usage(what, hint));
        if self.model.as_os_str().is_empty() || self.data.as_os_str().is_empty() {
            return bad("a run needs a model and data", "give `model` and `data`");
        }
        if self.steps == 0 || self.micro_batch == 0 || self.save_every == 0 || self.eval_every == 0
        {
            return bad(
                "`steps`, `micro_batch`, `save_every` and `eval_every` are at least 1",
                "choose a positive number",
            );
        }
        let rates = [self.lr, self.weight_decay];
        if !rates.iter().all(|v| v.is_finite() && *v >= 0.0) {
            return bad(
                "`lr` and `weight_decay` are numbers from 0 on",
                "choose another",
            );
        }
        let stages = self.method == MethodName::Fairy2i && self.stages > 1;
        if !(0.0..=1.0).contains(&self.nested) || self.nested > 0.0 && !stages {
            return bad(
                "`nested` is a probability, and needs fairy2i with several stages",
                "choose one from 0 to 1, and `stages` 2 or more",
            );
        }
        let learned = self.scales == ScaleRule::Learned;
        let changing = self.nested > 0.0 || self.quant_warmup > 0;
        if learned && (self.method != MethodName::Fairy2i || changing) {
            return bad(
                "learned `scales` need fairy2i, all stages and quantized weights in every step",
                "leave out `nested` and `quant_warmup`, or take `means`",
            );
        }
        let taught = !self.teacher.as_os_str().is_empty();
        if !(0.0..=1.0).contains(&self.distill) || taught && self.distill == 0.0 {
            return bad(
                "`distill` is the share of the teacher in the loss",
                "choose one from 0 to 1; with `teacher`, above 0",
            );
        }
        if self.distill > 0.0 && self.from_scratch && !taught {
            return bad(
                "`distill` from scratch has no full-precision model to learn from",
                "give a `teacher`",
            );
        }
        if !(self.outlier == 0.0 || self.outlier > 1.0) {
            return bad("`outlier` is a factor above 1", "choose 10, say");
        }
        if self.shard && (learned || changing) {
            return bad(
                "`shard` leaves no rank with all masters, which learned `scales`, `nested` and `quant_warmup` need",
                "leave out one of them",
            );
        }
        self.recipe()?;
        self.learning_rates()?.check()
    }

    /// All that is read.
    pub fn reads(&self) -> impl Iterator<Item = &Path> {
        let folders = [&self.model, &self.data, &self.teacher];
        let given = folders.into_iter().filter(|f| !f.as_os_str().is_empty());
        given.chain(&self.eval).map(PathBuf::as_path)
    }

    /// How linear layers are quantized.
    pub fn recipe(&self) -> Result<Recipe> {
        let granularity = self.granularity.parse::<Granularity>();
        let granularity =
            granularity.map_err(|e| Error::usage(e, "choose another `granularity`"))?;
        Ok(match self.method {
            MethodName::Full => Recipe::FULL,
            name => Recipe {
                method: match name {
                    MethodName::Bitnet => Method::Binary,
                    MethodName::Bitnet158 => Method::Ternary,
                    _ => Method::Phase {
                        stages: self.stages.into(),
                    },
                },
                granularity,
                skip_head: self.skip_lm_head,
                rotated: false,
            },
        })
    }

    /// Largest norm of a gradient that is not an outlier among the steps before.
    pub fn most_norm(&self, steps: &[Step]) -> f64 {
        let latest = steps.iter().rev().filter(|s| !s.skipped).take(RECENT);
        let mut norms: Vec<f64> = latest.map(|s| s.grad_norm).collect();
        if self.outlier == 0.0 || norms.len() < RECENT / 2 {
            return f64::INFINITY;
        }
        norms.sort_by(f64::total_cmp);
        self.outlier * norms[norms.len() / 2]
    }

    /// Stages of the step after `step`, if they may change: they follow from the seed and the step alone.
    pub fn stages_after(&self, step: u64) -> Option<usize> {
        let drawn = random::unit(random::at(self.seed ^ NESTED, step));
        (self.nested > 0.0).then(|| match drawn < self.nested {
            true => 1,
            false => self.stages.into(),
        })
    }

    /// How much of the weights is quantized in the step after `step`.
    pub fn quantized_share_after(&self, step: u64) -> f64 {
        match self.quant_warmup {
            0 => 1.0,
            steps => (step as f64 / steps as f64).min(1.0),
        }
    }
}
