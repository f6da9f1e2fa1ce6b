//! How the next token is chosen: settings that the host and the device share.

use crate::random::SplitMix64;

/// The largest k of the top-k choice on the device.
pub const MAX_TOP_K: usize = 256;

/// How to choose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it; 0 takes the most likely token (greedy).
    pub temperature: f32,
    /// How many of the most likely tokens stay; 0 keeps all.
    pub top_k: usize,
    /// Of those, the fewest whose probabilities reach this sum stay; 1 keeps all.
    pub top_p: f32,
    /// Tokens less likely than this fraction of the most likely one go; 0 keeps all.
    pub min_p: f32,
    /// Positive logits of recent tokens are divided, others multiplied by it; 1 does nothing.
    pub repetition_penalty: f32,
    /// How many tokens count as recent.
    pub penalty_window: usize,
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
            seed: 0,
        }
    }
}

impl Sampling {
    /// The random numbers of `texts` texts that are decoded together: text i has the seed `seed + i` (modulo 2^64), so
    /// that it is the text that its seed gives alone.
    pub fn generators(&self, texts: usize) -> Vec<SplitMix64> {
        let seeds = (0..texts as u64).map(|i| self.seed.wrapping_add(i));
        seeds.map(SplitMix64::new).collect()
    }
}
