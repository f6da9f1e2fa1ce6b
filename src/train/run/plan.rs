//! What settings mean for the steps of a run.

use super::corner::corner;
use super::method::ScaleRule;
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::train::step::schedule::{Schedule, WeightDecay};
use crate::train::step::{Betas, TrainOptions};

impl Settings {
    /// The schedule of the learning rate.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name or corners that are none.
    pub fn learning_rates(&self) -> Result<Schedule> {
        let (warmup, steps, floor) = (self.warmup, self.steps, self.floor);
        let decay_from = match self.decay_from {
            0 => warmup,
            from => from,
        };
        Ok(match self.schedule.as_str() {
            "constant" => Schedule::Constant { warmup },
            "linear" => Schedule::Linear {
                warmup,
                decay_from,
                steps,
                floor,
            },
            "cosine" => Schedule::Cosine {
                warmup,
                decay_from,
                steps,
                floor,
            },
            "wsd" => Schedule::Wsd {
                warmup,
                decays: self
                    .decays
                    .iter()
                    .map(|d| corner(d))
                    .collect::<Result<_>>()?,
            },
            "two_stage_linear" => Schedule::TwoStageLinear { warmup, steps },
            "fairy2i_w2" => Schedule::fairy2i_w2(),
            name => Schedule::papers(name, steps)?,
        })
    }

    /// The schedule of the weight decay.
    pub fn weight_decays(&self) -> WeightDecay {
        let value = self.weight_decay;
        match self.decay_first_half {
            true => WeightDecay::FirstHalf {
                value,
                steps: self.steps,
            },
            false => WeightDecay::Constant { value },
        }
    }

    /// What the trainer is told, for sequences of `length` tokens.
    pub fn options(&self, length: usize) -> Result<TrainOptions> {
        Ok(TrainOptions {
            checkpoint: !self.keep_activations,
            betas: Betas {
                first: self.betas[0],
                second: self.betas[1],
            },
            eps: self.eps,
            clip: self.clip,
            exact: self.exact,
            distill: self.distill,
            activations: self.activations.into(),
            learned_scales: self.scales == ScaleRule::Learned,
            moments: self.moments,
            masters: self.masters,
            seed: self.seed,
            ..TrainOptions::new(self.recipe()?, self.micro_batch, length)
        })
    }

    /// Micro-batches of a step.
    ///
    /// # Errors
    /// [`Error::Usage`] when a step is no whole number of them.
    pub fn micro_batches(&self, length: usize) -> Result<usize> {
        let tokens = self.micro_batch.saturating_mul(length);
        match self.batch_tokens {
            0 => Ok(1),
            all if all >= tokens && all.is_multiple_of(tokens) => Ok(all / tokens),
            all => Err(Error::usage(
                format!(
                    "`batch_tokens` {all} is no multiple of {tokens}, the tokens of a micro-batch"
                ),
                match all.checked_next_multiple_of(tokens) {
                    Some(next) => format!("give a multiple, like {next}"),
                    None => "lower `micro_batch`".to_owned(),
                },
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_whole_micro_batches() {
        let mut settings = Settings {
            batch_tokens: 32_768,
            ..Settings::default()
        };
        assert_eq!(settings.micro_batches(512).expect("whole"), 8);
        settings.batch_tokens = 33_000;
        assert!(settings.micro_batches(512).is_err());
        settings.batch_tokens = 0;
        assert_eq!(settings.micro_batches(512).expect("one"), 1);
    }
}
