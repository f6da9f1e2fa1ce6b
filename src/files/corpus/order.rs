//! In which order blocks are read: a new permutation of all of them every epoch, computed for one block at a time.
//!
//! The permutation is a Feistel network over the smallest square of a power of two that holds the corpus; indices
//! that fall outside are walked on until they fall inside. So the whole state is a seed and a cursor, whatever the
//! size of the corpus, and going on after a restart is exact.

use crate::random::{self, mix};
use serde::{Deserialize, Serialize};

/// Where training is in the corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What the permutations follow from.
    pub seed: u64,
    /// Blocks taken so far, over all epochs.
    pub cursor: u64,
}

/// Rounds of the network; four make a permutation pseudo-random, the rest is caution: small domains mix less.
const ROUNDS: u64 = 6;

impl Order {
    /// The beginning of epoch 0.
    pub fn new(seed: u64) -> Self {
        Self { seed, cursor: 0 }
    }

    /// The next block of a corpus of `blocks`; every epoch has each once. `None` when there are no blocks.
    pub fn next(&mut self, blocks: u64) -> Option<u64> {
        let next = self.peek(0, blocks)?;
        self.cursor += 1;
        Some(next)
    }

    /// The block `ahead` of the next one, without taking it.
    pub fn peek(&self, ahead: u64, blocks: u64) -> Option<u64> {
        if blocks == 0 {
            return None;
        }
        let at = self.cursor.checked_add(ahead)?;
        Some(permuted(at % blocks, blocks, self.seed, at / blocks))
    }

    /// The epoch the next block belongs to, from 0.
    pub fn epoch(&self, blocks: u64) -> u64 {
        self.cursor.checked_div(blocks).unwrap_or(0)
    }
}

/// Where `index` goes in the permutation of `n` indices for this seed and epoch.
fn permuted(index: u64, n: u64, seed: u64, epoch: u64) -> u64 {
    let bits = 64 - (n - 1).leading_zeros();
    // Two halves of the same width; never zero bits.
    let half = bits.div_ceil(2).max(1);
    let mask = (1u64 << half) - 1;
    let key = random::at(seed, epoch);
    let mut at = index;
    loop {
        let (mut left, mut right) = (at >> half, at & mask);
        for round in 0..ROUNDS {
            let f = mix(key ^ mix(right ^ (round << 56))) & mask;
            (left, right) = (right, left ^ f);
        }
        at = left << half | right;
        // The domain is less than four times n, so this takes four steps on average at most.
        if at < n {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_has_every_block_once() {
        for n in [1, 2, 3, 7, 64, 65, 1000] {
            let mut order = Order::new(42);
            let mut epochs = Vec::new();
            for epoch in 0..3 {
                assert_eq!(order.epoch(n), epoch);
                let taken: Vec<u64> = (0..n).map(|_| order.next(n).unwrap()).collect();
                let mut sorted = taken.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..n).collect::<Vec<_>>(), "{n}");
                epochs.push(taken);
            }
            if n > 60 {
                assert_ne!(epochs[0], epochs[1]);
                assert_ne!(epochs[1], epochs[2]);
            }
        }
        assert_eq!(Order::new(1).next(0), None);
    }

    #[test]
    fn neighbours_are_torn_apart() {
        let n = 10_000;
        let order = Order::new(7);
        let at = |i| order.peek(i, n).unwrap() as f64;
        let near = (0..n - 1)
            .filter(|&i| (at(i) - at(i + 1)).abs() < 100.0)
            .count();
        // 2 % of random pairs are that near.
        assert!((120..280).contains(&near), "{near}");
        let first_half: f64 = (0..n / 2).map(at).sum::<f64>() / (n / 2) as f64;
        assert!((first_half - 5000.0).abs() < 150.0, "{first_half}");
    }

    #[test]
    fn going_on_from_what_was_written_down_is_exact() {
        let mut order = Order::new(3);
        for _ in 0..150 {
            order.next(100);
        }
        let text = serde_json::to_string(&order).unwrap();
        let mut again: Order = serde_json::from_str(&text).unwrap();
        assert_eq!(again, order);
        for _ in 0..200 {
            assert_eq!(again.next(100), order.next(100));
        }
    }
}
