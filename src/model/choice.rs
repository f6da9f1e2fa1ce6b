//! How the next token is chosen: settings that the host and the device share.

use crate::ops::sampling::DrawSettings;
use crate::random::SplitMix64;

/// The largest k of [`Session::top_k`](super::Session::top_k).
pub const MAX_TOP_K: usize = 256;

/// How to choose. Filters see the probabilities that penalties and temperature leave, in the order of transformers and
/// vLLM: penalties, temperature, top-k, top-p, min-p. (llama.cpp divides by the temperature last.)
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it; 0 takes the most likely token (greedy).
    pub temperature: f32,
    /// How many of the most likely tokens stay, with all that are as likely as the last of them (as far as the 64 or,
    /// beyond a k of 40, 256 most likely ones reach); 0 keeps all.
    pub top_k: usize,
    /// Of those, the fewest of the most likely whose probabilities reach this sum stay; 1 keeps all.
    pub top_p: f32,
    /// Of those, tokens less likely than this fraction of the most likely one go; 0 keeps all.
    pub min_p: f32,
    /// Positive logits of recent tokens are divided, others multiplied by it; 1 does nothing.
    pub repetition_penalty: f32,
    /// How many tokens, of the prompt and generated ones, count as recent.
    pub penalty_window: usize,
    /// Taken from the logits of tokens that were generated; 0 does nothing.
    pub presence_penalty: f32,
    /// Taken from the logits of tokens as often as they were generated; 0 does nothing.
    pub frequency_penalty: f32,
    /// Equal seeds give equal choices: it is the seed of [`SplitMix64`].
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repetition_penalty: 1.0,
            penalty_window: 64,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: 0,
        }
    }
}

impl Sampling {
    /// Whether the most likely token is taken each time.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// What is left of the settings once penalties are done.
    pub(super) fn draw_settings(&self) -> DrawSettings {
        DrawSettings {
            k: self.top_k,
            temperature: self.temperature,
            top_p: self.top_p,
            min_p: self.min_p,
        }
    }

    /// The random numbers of `texts` texts that are decoded together: text i has the seed `seed + i` (modulo 2^64), so
    /// that it is the text that its seed gives alone.
    pub fn generators(&self, texts: usize) -> Vec<SplitMix64> {
        let seeds = (0..texts as u64).map(|i| self.seed.wrapping_add(i));
        seeds.map(SplitMix64::new).collect()
    }
}
