//! How tokens are chosen, in llama.cpp's words.

use crate::model::Sampling;
use std::hash::{BuildHasher, RandomState};

/// Settings of the sampler; defaults are llama.cpp's.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sampling")]
pub(super) struct SamplingArgs {
    /// Temperature; 0 is greedy: always the most likely token
    #[arg(
        long,
        visible_alias = "temperature",
        value_name = "T",
        default_value_t = 0.8,
        allow_negative_numbers = true
    )]
    temp: f32,
    /// Choose among the K most likely tokens (0: all)
    #[arg(long, value_name = "K", default_value_t = 40)]
    top_k: usize,
    /// Choose among the fewest tokens whose probabilities reach this sum (1: all)
    #[arg(
        long,
        value_name = "P",
        default_value_t = 0.95,
        allow_negative_numbers = true
    )]
    top_p: f32,
    /// Drop tokens less likely than this fraction of the most likely one (0: none)
    #[arg(
        long,
        value_name = "P",
        default_value_t = 0.05,
        allow_negative_numbers = true
    )]
    min_p: f32,
    /// Make recent tokens less likely (1: off)
    #[arg(
        long,
        visible_alias = "repetition-penalty",
        value_name = "R",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    repeat_penalty: f32,
    /// How many tokens count as recent
    #[arg(long, value_name = "N", default_value_t = 64)]
    repeat_last_n: usize,
    /// Equal seeds give equal texts [default: a new one each time, told in the statistics]
    #[arg(short, long)]
    seed: Option<u64>,
}

impl SamplingArgs {
    /// The settings, with a random seed where none was given.
    pub(super) fn sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repeat_penalty,
            penalty_window: self.repeat_last_n,
            // short enough to be typed, and exact as a JSON number
            seed: self.seed.unwrap_or_else(|| random_seed().into()),
        }
    }
}

/// A seed that nobody can foresee, from the keys that the standard library takes from the system for its hash maps.
fn random_seed() -> u32 {
    RandomState::new().hash_one(()) as u32
}
