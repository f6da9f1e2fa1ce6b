//! How parts of a model are trained by themselves, in the memory that there is.

use super::super::room::fitting;
use super::super::tuning::{BlockTuning, SCALE_RATE, Tuning};
use crate::backend::{Backend, Device};
use crate::error::Result;
use crate::model::budget::{self, product};
use crate::model::{Config, Recipe, Weights};
use crate::train::step::{Memory, Scope, TrainOptions};

/// Largest norm of the gradient of a block.
const CLIP: f64 = 1.0;

/// What is trained, on what, and how.
#[derive(Clone, Copy)]
pub(in crate::quantize::calibrated) struct Task<'a> {
    pub device: &'a Device,
    pub config: &'a Config,
    pub weights: &'a dyn Weights,
    pub recipe: Recipe,
    /// Of scales and norms at the end.
    pub tuning: Tuning,
    pub each: BlockTuning,
    pub seed: u64,
}

impl Task<'_> {
    /// How a block is trained, with this many sequences at once.
    fn options(&self, scope: Scope, texts: usize, length: usize) -> TrainOptions {
        let usual = TrainOptions {
            learned_scales: true,
            ..TrainOptions::new(self.recipe, texts, length).within(scope)
        };
        match scope {
            Scope::Scales => TrainOptions {
                distill: self.tuning.distill,
                scale_rate: SCALE_RATE,
                ..usual
            },
            Scope::Head => TrainOptions {
                distill: 1.0,
                clip: CLIP,
                ..usual
            },
            _ => TrainOptions {
                clip: CLIP,
                ..usual
            },
        }
    }

    /// The same with as many sequences at once as the device has room for.
    pub(super) fn fitting(&self, scope: Scope, length: usize) -> Result<TrainOptions> {
        let most = match scope {
            Scope::Scales => self.tuning.batch,
            _ => self.each.batch,
        };
        let options = self.options(scope, most, length);
        fitting(self.device, self.config, 1, options)
    }

    /// Refuses what there is no room for, before any work.
    pub(super) fn check(&self, tokens: usize, length: usize) -> Result<()> {
        let facts = self.device.facts();
        let words = facts.max_words;
        let of = |scope| {
            let options = self.options(scope, 1, length);
            Memory::of(self.config, &options, facts.features, words).total()
        };
        let parts = [
            (
                "residual streams",
                product(&[8, tokens, self.config.hidden]),
            ),
            (
                "a block in training, or all codes with scales in training",
                of(Scope::Block(0)).max(of(Scope::Scales)),
            ),
        ];
        let hint = "calibrate with fewer tokens, or on another device";
        budget::check(self.device, "training block by block", &parts, hint)
    }
}
