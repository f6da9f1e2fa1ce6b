//! What the versions of attention for the host share.

use super::{Heads, Positions};
use crate::ops::cpu::{self, Scores, Seen};
use std::ops::Range;

/// Heads of a token that attend to the same keys and values, as one piece of work: the token, the first of them, how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub token: usize,
    pub first: usize,
    pub heads: usize,
}

impl Heads {
    /// Query heads of a group: all that share a key/value head, or fewer where threads would have nothing to do.
    pub(super) fn group(&self) -> usize {
        let shared = self.heads / self.kv_heads;
        let enough = |heads: &usize| self.tokens * self.heads / heads >= cpu::threads();
        let divisors = (1..=shared)
            .rev()
            .filter(|heads| shared.is_multiple_of(*heads));
        divisors.into_iter().find(enough).unwrap_or(1)
    }

    /// A group of heads over positions `range` of slot `slot`, in f32. Of each head the largest score and the sum of weights,
    /// `ends`, and the weighted values (not yet divided by that sum), `sums`.
    pub(super) fn attend(
        &self,
        group: Group,
        (slot, range): (usize, Range<usize>),
        qkv: &[f32],
        caches: [&[u32]; 2],
        (sums, ends): (&mut [f32], &mut [[f32; 2]]),
    ) {
        if range.is_empty() {
            sums.fill(0.0);
            return ends.fill([0.0; 2]);
        }
        let d = self.head_dim;
        let row = (self.offset + group.token) * self.qkv_row();
        let q = &qkv[row + group.first * d..][..group.heads * d];
        let kv_head = group.first / (self.heads / self.kv_heads);
        let index = self.cache_index((slot, 0)) + kv_head * d;
        let seen = Seen {
            rows: caches.map(|words| self.kv.rows(words, index)),
            stride: self.cache_row(),
            ring: self.capacity,
            first: range.start % self.capacity,
            positions: range.len(),
            once: self.tokens == 1 || matches!(self.positions, Positions::Table { .. }),
        };
        let scores = Scores {
            scale: self.scale,
            softcap: self.softcap,
        };
        cpu::attended(q, scores, seen, sums, ends);
    }

    /// About how long a group takes over `positions` positions.
    pub(super) fn nanoseconds(&self, heads: usize, positions: usize) -> usize {
        100 + heads * positions * (6 + self.head_dim / 8)
    }
}
