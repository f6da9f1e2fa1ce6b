//! Keys and values of the tokens so far, in slots: one for each sequence.

use super::Config;
use super::budget::product;
use crate::backend::Backend;
use crate::error::Result;
use crate::ops::Kv;

/// Keys and values of several sequences: for each layer two buffers `[slots, capacity, kv_heads, head_dim]`.
///
/// A slot belongs to the sequence that it was allocated to, until it is freed. Its length is how many tokens the sequence has
/// there; what lies behind them is never read.
pub struct KvCache<B: Backend> {
    layers: Vec<(B::Buffer, B::Buffer)>,
    capacity: usize,
    /// Tokens of each slot; `None` where the slot is free.
    lengths: Vec<Option<usize>>,
}

impl<B: Backend> KvCache<B> {
    /// A cache of `slots` free slots with room for `capacity` tokens each.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where the device has no room.
    pub fn new(
        backend: &B,
        config: &Config,
        kv: Kv,
        slots: usize,
        capacity: usize,
    ) -> Result<Self> {
        let words = Self::words(config, kv, slots, capacity);
        let layer = |_| {
            let k = backend.alloc("K cache", words)?;
            Ok((k, backend.alloc("V cache", words)?))
        };
        Ok(Self {
            layers: (0..config.layers).map(layer).collect::<Result<_>>()?,
            capacity,
            lengths: vec![None; slots],
        })
    }

    /// Words of the keys, or of the values, of one layer.
    pub fn words(config: &Config, kv: Kv, slots: usize, capacity: usize) -> usize {
        let values = product(&[capacity, config.kv_heads, config.head_dim]);
        product(&[slots, kv.words(values)])
    }

    /// How many slots there are, free ones included.
    pub fn slots(&self) -> usize {
        self.lengths.len()
    }

    /// Most tokens of a slot.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The lowest free slot, which is empty and no longer free; none where all are taken.
    pub fn allocate(&mut self) -> Option<usize> {
        let slot = self.lengths.iter().position(Option::is_none)?;
        self.lengths[slot] = Some(0);
        Some(slot)
    }

    /// Takes slot `slot` with the first `tokens` tokens that are there; whether it was free.
    pub fn allocate_slot(&mut self, slot: usize, tokens: usize) -> bool {
        match self.lengths.get_mut(slot) {
            Some(length @ None) => {
                *length = Some(tokens.min(self.capacity));
                true
            }
            _ => false,
        }
    }

    /// Gives a slot back; nothing happens where it is free already, or is none of the slots.
    pub fn free(&mut self, slot: usize) {
        if let Some(length) = self.lengths.get_mut(slot) {
            *length = None;
        }
    }

    /// Tokens of a slot; none of a free one.
    pub fn length(&self, slot: usize) -> Option<usize> {
        self.lengths.get(slot).copied().flatten()
    }

    /// The slots that are taken, in their order.
    pub fn taken(&self) -> impl Iterator<Item = usize> {
        let taken = self.lengths.iter().enumerate();
        taken.filter_map(|(slot, length)| length.map(|_| slot))
    }

    /// Says how many tokens a taken slot has: more after a step, fewer to forget the others, 0 to begin anew. A free slot
    /// stays free, and no slot becomes longer than the capacity.
    pub fn set_length(&mut self, slot: usize, tokens: usize) {
        if let Some(Some(length)) = self.lengths.get_mut(slot) {
            *length = tokens.min(self.capacity);
        }
    }

    /// Keys and values of the layers.
    pub(crate) fn layers(&self) -> impl Iterator<Item = (&B::Buffer, &B::Buffer)> {
        self.layers.iter().map(|(k, v)| (k, v))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Cpu;

    fn cache(slots: usize) -> KvCache<Cpu> {
        KvCache {
            layers: Vec::new(),
            capacity: 9,
            lengths: vec![None; slots],
        }
    }

    #[test]
    fn slots_are_taken_and_given_back() {
        let mut cache = cache(2);
        assert_eq!([cache.slots(), cache.capacity()], [2, 9]);
        assert_eq!(cache.length(0), None);
        assert_eq!(cache.allocate(), Some(0));
        assert_eq!(cache.allocate(), Some(1));
        assert_eq!(cache.allocate(), None);
        cache.set_length(0, 5);
        cache.set_length(1, 100);
        assert_eq!(
            [0, 1, 2].map(|slot| cache.length(slot)),
            [Some(5), Some(9), None]
        );
        cache.free(0);
        cache.free(7);
        cache.set_length(0, 3);
        assert_eq!(cache.length(0), None);
        assert_eq!(cache.taken().collect::<Vec<_>>(), [1]);
        assert_eq!(cache.allocate(), Some(0));
        assert_eq!(cache.length(0), Some(0));
        assert!(!cache.allocate_slot(0, 3) && !cache.allocate_slot(7, 3));
        cache.free(1);
        assert!(cache.allocate_slot(1, 3));
        assert_eq!(cache.length(1), Some(3));
    }
}
