//! Where the keys and values of tokens lie in caches.

use super::{Heads, Positions};
use std::borrow::Cow;
use std::ops::Range;

impl Heads {
    /// Words each cache must at least have: to the last position that a token may have, or to the end of the ring.
    pub(super) fn cache_words(&self) -> usize {
        let slot = match self.positions {
            Positions::Run { slot, .. } => slot,
            Positions::Table { slots, .. } => slots - 1,
        };
        let rows = slot * self.capacity + self.end().min(self.capacity);
        self.kv.words(rows * self.cache_row())
    }

    /// Whether some position lies beyond the capacity, so that the beginning of its slot has been written again.
    pub(super) fn wraps(&self) -> bool {
        self.end() > self.capacity
    }

    /// First value of position `position` of slot `slot` in a cache.
    pub(super) fn cache_index(&self, (slot, position): (usize, usize)) -> usize {
        (slot * self.capacity + position % self.capacity) * self.cache_row()
    }

    /// The rows of a slot from that of a position on, to the end of the ring and again from its beginning to there.
    pub(super) fn ring_rows<'a>(
        &self,
        cache: &'a mut [u32],
        (slot, position): (usize, usize),
    ) -> impl Iterator<Item = &'a mut [u32]> + use<'a> {
        let row = self.kv.words(self.cache_row());
        let slot = cache.chunks_mut(self.capacity * row).nth(slot);
        let begin = position % self.capacity * row;
        let (again, first) = slot.unwrap_or_default().split_at_mut(begin);
        first
            .chunks_exact_mut(row)
            .chain(again.chunks_exact_mut(row))
    }

    /// Keys and values of these positions of a slot, at most its capacity of them.
    pub(super) fn cached<'a>(
        &self,
        caches: [&'a [u32]; 2],
        slot: usize,
        positions: Range<usize>,
    ) -> Cached<'a> {
        let begin = self.cache_index((slot, positions.start));
        let end = (slot + 1) * self.capacity * self.cache_row();
        let values = positions.len() * self.cache_row();
        let first = begin..(begin + values).min(end);
        let rest = values - first.len();
        let again = end - self.capacity * self.cache_row();
        let part = |words: &'a [u32], part: Range<usize>| {
            self.kv
                .values(&words[self.kv.words(part.start)..self.kv.words(part.end)])
        };
        let values = |words: &'a [u32]| match rest {
            0 => part(words, first.clone()),
            _ => {
                Cow::Owned([part(words, first.clone()), part(words, again..again + rest)].concat())
            }
        };
        Cached {
            first: positions.start,
            values: caches.map(values),
        }
    }
}

/// Keys and values of consecutive positions of a slot.
pub(super) struct Cached<'a> {
    /// The first of these positions.
    pub(super) first: usize,
    pub(super) values: [Cow<'a, [f32]>; 2],
}

impl Cached<'_> {
    /// The key and the value of `width` values from `column` on, at a position.
    pub(super) fn at(&self, h: &Heads, position: usize, column: usize) -> [&[f32]; 2] {
        let index = (position - self.first) * h.cache_row() + column;
        [0, 1].map(|cache| &self.values[cache][index..][..h.head_dim])
    }
}
