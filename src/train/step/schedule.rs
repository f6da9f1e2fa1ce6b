//! How learning rate and weight decay change over a run: pure functions of the step.
//!
//! A schedule gives the factor on the base learning rate at a step. Steps count from 0, as in the papers' scripts:
//! with a warm-up, step 0 has the factor 0. Formulas keep the order of operations of those scripts, so that the
//! factors are the same f64 numbers (`tests/data/schedules.json`).

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// The factor on the learning rate, step by step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "shape", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// Warm-up, then 1 (`get_ws_lr_lambda` with a warm-up of 30).
    Constant {
        /// Steps from 0 to 1.
        warmup: u64,
    },
    /// Warm-up, 1 until `decay_from`, then a straight line that reaches `floor` at `steps`.
    Linear {
        /// Steps from 0 to 1.
        warmup: u64,
        /// First step of the decay.
        decay_from: u64,
        /// Steps of the whole run.
        steps: u64,
        /// The factor at the end.
        floor: f64,
    },
    /// Warm-up, 1 until `decay_from`, then half a cosine down to `floor` at `steps`.
    Cosine {
        /// Steps from 0 to 1.
        warmup: u64,
        /// First step of the decay.
        decay_from: u64,
        /// Steps of the whole run.
        steps: u64,
        /// The factor at the end.
        floor: f64,
    },
    /// Warm-up, stable, decay: as many decays as wanted, stable between them (`get_custom_wsd_lr_lambda`).
    Wsd {
        /// Steps from 0 to 1.
        warmup: u64,
        /// The decays, in their order.
        decays: Vec<Decay>,
    },
    /// iFairy's two lines: one to 0 over the whole run, from its half on another of two thirds the height
    /// (`get_custom_lr_lambda` with a warm-up of 500; the paper's models took 375).
    TwoStageLinear {
        /// Steps from 0 to 1.
        warmup: u64,
        /// Steps of the whole run.
        steps: u64,
    },
    /// A cosine to 0.006667, times 0.667 from half of the run on (`get_two_stage_cosine_lr_lambda`, warm-up 500).
    TwoStageCosine {
        /// Steps from 0 to 1.
        warmup: u64,
        /// Steps of the whole run.
        steps: u64,
    },
}

/// Half a cosine down from the factor before it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decay {
    /// First step.
    pub from: u64,
    /// How many steps it takes.
    pub steps: u64,
    /// The factor it ends at.
    pub to: f64,
}

/// Names that [`Schedule::papers`] knows: those of the papers' scripts.
pub const PAPERS: [&str; 5] = [
    "get_custom_wsd_lr_lambda",
    "get_wsd_lr_lambda",
    "get_two_stage_cosine_lr_lambda",
    "get_ws_lr_lambda",
    "get_custom_lr_lambda",
];

/// What the scripts' decays end at: 1e-5 of 1.5e-3.
const FLOOR: f64 = 0.006667;

impl Schedule {
    /// The schedule of the papers' scripts with this name, with their defaults, for a run of `steps`.
    /// `get_custom_wsd_lr_lambda` has the corners of Fairy2i-W2, whatever `steps` is.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name that is not in [`PAPERS`].
    pub fn papers(name: &str, steps: u64) -> Result<Self> {
        Ok(match name {
            "get_custom_wsd_lr_lambda" => Self::fairy2i_w2(),
            "get_wsd_lr_lambda" => Self::Linear {
                warmup: 500,
                decay_from: steps * 4 / 5,
                steps,
                floor: FLOOR,
            },
            "get_two_stage_cosine_lr_lambda" => Self::TwoStageCosine { warmup: 500, steps },
            "get_ws_lr_lambda" => Self::Constant { warmup: 30 },
            "get_custom_lr_lambda" => Self::TwoStageLinear { warmup: 500, steps },
            other => {
                return Err(Error::usage(
                    format!("there is no schedule `{other}`"),
                    format!("the papers' are {}", PAPERS.join(", ")),
                ));
            }
        })
    }

    /// The schedule of the paper's W2 (LLaMA-2 7B).
    pub fn fairy2i_w2() -> Self {
        let decay = |from, steps, to| Decay { from, steps, to };
        Self::Wsd {
            warmup: 300,
            decays: vec![decay(8_000, 2_000, 0.1667), decay(19_000, 1_000, 0.03333)],
        }
    }

    /// Refuses what makes no sense: corners out of order, factors that are negative or no numbers.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the field.
    pub fn check(&self) -> Result<()> {
        let bad = |what: String| Err(Error::usage(what, "correct the schedule"));
        match self {
            Self::Linear {
                warmup,
                decay_from,
                steps,
                floor,
            }
            | Self::Cosine {
                warmup,
                decay_from,
                steps,
                floor,
            } => {
                if decay_from < warmup || steps <= decay_from {
                    return bad(format!(
                        "warm-up {warmup}, decay from {decay_from}, steps {steps} are not in this order"
                    ));
                }
                if !(0.0..=1.0).contains(floor) {
                    return bad(format!("the factor at the end is {floor}, not 0 to 1"));
                }
            }
            Self::Wsd { warmup, decays } => return in_order(*warmup, decays),
            Self::TwoStageLinear { warmup, steps } | Self::TwoStageCosine { warmup, steps } => {
                if steps <= warmup {
                    return bad(format!(
                        "the warm-up of {warmup} is all of the {steps} steps"
                    ));
                }
            }
            Self::Constant { .. } => {}
        }
        Ok(())
    }

    /// The factor on the base learning rate at `step`, counted from 0. Never negative; after the end of a decay it
    /// stays where it ended.
    pub fn factor(&self, step: u64) -> f64 {
        let warmup = self.warmup();
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        match *self {
            Self::Constant { .. } => 1.0,
            Self::Linear {
                decay_from,
                steps,
                floor,
                ..
            } => 1.0 - (1.0 - floor) * progress(step, decay_from, steps),
            Self::Cosine {
                decay_from,
                steps,
                floor,
                ..
            } => cosine(1.0, floor, progress(step, decay_from, steps)),
            Self::Wsd { ref decays, .. } => corners(decays, step),
            Self::TwoStageLinear { steps, .. } => two_lines(step, warmup, steps),
            Self::TwoStageCosine { steps, .. } => {
                let whole = cosine(1.0, FLOOR, progress(step, warmup, steps));
                if step >= steps / 2 {
                    whole * 0.667
                } else {
                    whole
                }
            }
        }
    }

    fn warmup(&self) -> u64 {
        match *self {
            Self::Constant { warmup }
            | Self::Linear { warmup, .. }
            | Self::Cosine { warmup, .. }
            | Self::Wsd { warmup, .. }
            | Self::TwoStageLinear { warmup, .. }
            | Self::TwoStageCosine { warmup, .. } => warmup,
        }
    }
}

/// Refuses decays that overlap, have no steps, or end at no factor.
fn in_order(warmup: u64, decays: &[Decay]) -> Result<()> {
    let bad = |decay: &Decay, what: &str| {
        let what = format!("the decay from step {} {what}", decay.from);
        Err(Error::usage(what, "correct the schedule"))
    };
    let mut free = warmup;
    for decay in decays {
        if decay.from < free || decay.steps == 0 {
            return bad(decay, "overlaps what is before it, or has no steps");
        }
        if !(0.0..=f64::MAX).contains(&decay.to) {
            return bad(decay, &format!("ends at {}", decay.to));
        }
        free = decay.from.saturating_add(decay.steps);
    }
    Ok(())
}

/// How far `step` is between `from` and `to`, 0 to 1.
fn progress(step: u64, from: u64, to: u64) -> f64 {
    if step <= from {
        return 0.0;
    }
    if step >= to {
        return 1.0;
    }
    (step - from) as f64 / (to - from) as f64
}

/// Half a cosine from `high` to `low`.
fn cosine(high: f64, low: f64, progress: f64) -> f64 {
    low + (high - low) * 0.5 * (1.0 + (PI * progress).cos())
}

fn corners(decays: &[Decay], step: u64) -> f64 {
    let mut before = 1.0;
    for decay in decays {
        let end = decay.from.saturating_add(decay.steps);
        if step < decay.from {
            return before;
        }
        if step < end {
            return cosine(before, decay.to, progress(step, decay.from, end));
        }
        before = decay.to;
    }
    before
}

/// The first line counts from the end of the warm-up, the second from step 0, as in the script.
fn two_lines(step: u64, warmup: u64, steps: u64) -> f64 {
    let total = steps as f64;
    if (step as f64) < total / 2.0 {
        1.0 - (step - warmup) as f64 / total
    } else {
        (0.666 * (1.0 - step as f64 / total)).max(0.0)
    }
}

/// How weight decay changes over a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "shape", rename_all = "snake_case", deny_unknown_fields)]
pub enum WeightDecay {
    /// Always the same.
    Constant {
        /// Weight decay of AdamW.
        value: f64,
    },
    /// iFairy's: `value` (the paper's 0.1) in the first half of the run, then 0.
    FirstHalf {
        /// Weight decay of AdamW in the first half.
        value: f64,
        /// Steps of the whole run.
        steps: u64,
    },
}

impl WeightDecay {
    /// The weight decay at `step`, counted from 0.
    pub fn at(&self, step: u64) -> f64 {
        match *self {
            Self::Constant { value } => value,
            Self::FirstHalf { value, steps } if (step as f64) < steps as f64 / 2.0 => value,
            Self::FirstHalf { .. } => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_decay_of_the_small_table() {
        let schedule = Schedule::Linear {
            warmup: 30,
            decay_from: 500,
            steps: 700,
            floor: 0.0,
        };
        schedule.check().unwrap();
        let at = |step| schedule.factor(step);
        assert_eq!(
            [at(0), at(15), at(30), at(500), at(600), at(700), at(9000)],
            [0.0, 0.5, 1.0, 1.0, 0.5, 0.0, 0.0]
        );
    }

    #[test]
    fn weight_decay_ends_at_half() {
        let decay = WeightDecay::FirstHalf {
            value: 0.1,
            steps: 11,
        };
        assert_eq!((decay.at(5), decay.at(6)), (0.1, 0.0));
        assert_eq!(WeightDecay::Constant { value: 0.1 }.at(6), 0.1);
    }

    #[test]
    fn nonsense_is_refused() {
        let linear = |warmup, decay_from, steps, floor| Schedule::Linear {
            warmup,
            decay_from,
            steps,
            floor,
        };
        assert!(linear(1, 2, 3, 0.0).check().is_ok());
        for bad in [
            linear(3, 2, 9, 0.0),
            linear(1, 9, 9, 0.0),
            linear(1, 2, 3, f64::NAN),
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        let decays = vec![
            Decay {
                from: 5,
                steps: 3,
                to: 0.5,
            },
            Decay {
                from: 7,
                steps: 1,
                to: 0.1,
            },
        ];
        assert!(Schedule::Wsd { warmup: 1, decays }.check().is_err());
        assert!(Schedule::papers("no_such", 10).is_err());
    }
}
