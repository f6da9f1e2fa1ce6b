//! How tokens are chosen, in llama.cpp's words; filters see tempered probabilities, unlike llama.cpp's.

use crate::error::{Error, Result};
use crate::model::Sampling;
use std::hash::{BuildHasher, RandomState};

/// Settings of the sampler; defaults are llama.cpp's.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sampling")]
pub(in crate::cli) struct SamplingArgs {
    /// Temperature; 0 is greedy: always the most likely token. It comes before the filters, as in transformers and vLLM, so
    /// that they see tempered probabilities; llama.cpp's default divides by it last
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
    /// Make tokens that were generated less likely, however often (0: off)
    #[arg(
        long,
        value_name = "R",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    presence_penalty: f32,
    /// Make tokens less likely each time that they are generated (0: off)
    #[arg(
        long,
        value_name = "R",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    frequency_penalty: f32,
    /// Add a number to the logit of a token: ID+NUMBER or ID-NUMBER, as 15043-inf; may be given several times
    #[arg(long, value_name = "ID(+|-)NUMBER")]
    logit_bias: Vec<String>,
    /// Equal seeds give equal texts [default: a new one each time, told in the statistics]
    #[arg(short, long)]
    seed: Option<u64>,
}

impl SamplingArgs {
    /// What is added to logits: token ids and numbers.
    ///
    /// # Errors
    /// [`Error::Usage`] where an option is not `ID(+|-)NUMBER`.
    pub(super) fn logit_bias(&self) -> Result<Vec<(u32, f32)>> {
        let parse = |text: &String| {
            let (id, number) = text.split_at(text.find(['+', '-'])?);
            Some((id.parse().ok()?, number.parse().ok()?))
        };
        let refuse = |text: &String| {
            let what = format!("--logit-bias is {text}");
            Error::usage(what, "give a token id, + or -, and a number")
        };
        let all = self.logit_bias.iter();
        all.map(|text| parse(text).ok_or_else(|| refuse(text)))
            .collect()
    }

    /// The settings, with a random seed where none was given.
    pub(in crate::cli) fn sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repeat_penalty,
            penalty_window: self.repeat_last_n,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            // short enough to be typed, and exact as a JSON number
            seed: self.seed.unwrap_or_else(|| random_seed().into()),
        }
    }
}

/// A seed that nobody can foresee, from the keys that the standard library takes from the system for its hash maps.
pub(in crate::cli) fn random_seed() -> u32 {
    RandomState::new().hash_one(()) as u32
}
