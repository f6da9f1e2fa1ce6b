//! Keys and values of the tokens so far, in slots: one for each sequence.

use super::Config;
use super::budget::{product, sum};
use super::options::LoadOptions;
use crate::backend::Backend;
use crate::error::Result;
use crate::ops::Kv;
use std::ops::Range;

/// Positions behind the end of a sequence that may have been written already: rounds of decoding that were begun ahead, and
/// drafts that were not kept. They are more than two rounds have, or any draft.
const AHEAD: usize = 64;

/// Keys and values of several sequences: for each layer two buffers `[slots, positions, kv_heads, head_dim]`.
///
/// A slot belongs to the sequence that it was allocated to, until it is freed. Its length is how many tokens the sequence has
/// there; what lies behind them is never read.
///
/// Layers with a window see the last positions of a sequence alone: their slots are rings of as many, and of those that a
/// batch may write beyond them. A sequence can then be shortened by little: the rest of its window must still be there
/// ([`KvCache::keeps`]).
pub struct KvCache<B: Backend> {
    layers: Vec<Layer<B>>,
    capacity: usize,
    /// Window and positions of those layers whose slots are rings, of each kind once.
    rings: Vec<Ring>,
    slots: Vec<Slot>,
}

/// Keys and values of a layer.
pub(crate) struct Layer<B: Backend> {
    pub k: B::Buffer,
    pub v: B::Buffer,
    /// Positions of a slot.
    pub positions: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ring {
    window: usize,
    positions: usize,
}

/// Who has a slot, and how far its keys and values go.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Slot {
    /// Tokens of its sequence; `None` where the slot is free.
    length: Option<usize>,
    /// Most tokens that it has had since a sequence began at its first position.
    longest: usize,
}

/// Positions of a slot of layer `layer`, for sequences of `options.context` tokens.
fn positions(config: &Config, layer: usize, options: &LoadOptions) -> usize {
    let window = config.attention(layer).window;
    match options.swa_full {
        true => options.context,
        false => sum([window, options.batch, AHEAD]).min(options.context),
    }
}

impl<B: Backend> KvCache<B> {
    /// A cache of `slots` free slots with room for `options.context` tokens each, of layers `own` of the model.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where the device has no room.
    pub fn new(
        backend: &B,
        (config, own): (&Config, Range<usize>),
        kv: Kv,
        slots: usize,
        options: &LoadOptions,
    ) -> Result<Self> {
        let mut rings = Vec::new();
        let mut layers = Vec::with_capacity(own.len());
        for l in 0..config.layers {
            let positions = positions(config, l, options);
            let words = layer_words(config, kv, slots, positions);
            if own.contains(&l) {
                layers.push(Layer {
                    k: backend.alloc("K cache", words)?,
                    v: backend.alloc("V cache", words)?,
                    positions,
                });
            }
            // What a sequence keeps is the same wherever its layers are.
            let window = config.attention(l).window;
            let ring = Ring { window, positions };
            if positions < options.context && !rings.contains(&ring) {
                rings.push(ring);
            }
        }
        Ok(Self {
            layers,
            capacity: options.context,
            rings,
            slots: vec![Slot::default(); slots],
        })
    }

    /// Words of all keys and values.
    pub fn words(config: &Config, kv: Kv, slots: usize, options: &LoadOptions) -> usize {
        let layer = |l| layer_words(config, kv, slots, positions(config, l, options));
        product(&[2, sum((0..config.layers).map(layer))])
    }

    /// How many slots there are, free ones included.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Most tokens of a slot.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The lowest free slot, which is empty and no longer free; none where all are taken.
    pub fn allocate(&mut self) -> Option<usize> {
        let slot = self.slots.iter().position(|slot| slot.length.is_none())?;
        self.allocate_slot(slot, 0).then_some(slot)
    }

    /// Takes slot `slot` with the first `tokens` tokens that are there ([`KvCache::keeps`] says whether they are); whether it
    /// was free.
    pub fn allocate_slot(&mut self, slot: usize, tokens: usize) -> bool {
        let free = self.slots.get(slot).is_some_and(|s| s.length.is_none());
        if free {
            self.slots[slot].length = Some(0);
            self.set_length(slot, tokens);
        }
        free
    }

    /// Whether a sequence can go on behind the first `tokens` tokens of a slot, which may be free: every layer still has what
    /// the next token sees.
    pub fn keeps(&self, slot: usize, tokens: usize) -> bool {
        let longest = self.longest(slot);
        let kept = |ring: &Ring| {
            let first = (tokens + 1).saturating_sub(ring.window);
            longest + AHEAD <= first + ring.positions
        };
        tokens == 0 || tokens <= longest && self.rings.iter().all(kept)
    }

    /// Gives a slot back; nothing happens where it is free already, or is none of the slots.
    pub fn free(&mut self, slot: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.length = None;
        }
    }

    /// Tokens of a slot; none of a free one.
    pub fn length(&self, slot: usize) -> Option<usize> {
        self.slots.get(slot)?.length
    }

    /// The slots that are taken, in their order.
    pub fn taken(&self) -> impl Iterator<Item = usize> {
        (0..self.slots()).filter(|&slot| self.length(slot).is_some())
    }

    /// Says how many tokens a taken slot has: more after a step, fewer to forget the others, 0 to begin anew. A free slot
    /// stays free, and no slot becomes longer than the capacity.
    pub fn set_length(&mut self, slot: usize, tokens: usize) {
        let Some(Slot {
            length: Some(length),
            longest,
        }) = self.slots.get_mut(slot)
        else {
            return;
        };
        *length = tokens.min(self.capacity);
        *longest = match *length {
            0 => 0,
            length => length.max(*longest),
        };
    }

    /// Forgets what lies behind the first `tokens` tokens of a slot; all of its tokens where it does not keep what the next one
    /// sees.
    pub fn shorten(&mut self, slot: usize, tokens: usize) {
        let tokens = tokens.min(self.length(slot).unwrap_or(0));
        let kept = self.keeps(slot, tokens);
        self.set_length(slot, if kept { tokens } else { 0 });
    }

    /// Says that slot `dst` has what slot `src` has, up to the first `tokens` tokens.
    pub(crate) fn copied(&mut self, src: usize, dst: usize, tokens: usize) {
        self.set_length(dst, tokens);
        if tokens > 0 {
            self.slots[dst].longest = self.slots[src].longest;
        }
    }

    /// Most tokens that a slot has had since a sequence began at its first position.
    pub(crate) fn longest(&self, slot: usize) -> usize {
        self.slots.get(slot).map_or(0, |slot| slot.longest)
    }

    /// Lengths as they are now.
    pub(crate) fn lengths(&self) -> Vec<Slot> {
        self.slots.clone()
    }

    /// Sets all lengths as they were: nothing has been written since.
    pub(crate) fn restore(&mut self, before: Vec<Slot>) {
        self.slots = before;
    }

    /// Keys and values of the layers.
    pub(crate) fn layers(&self) -> &[Layer<B>] {
        &self.layers
    }
}

/// Words of the keys, or of the values, of one layer whose slots have so many positions.
pub(crate) fn layer_words(config: &Config, kv: Kv, slots: usize, positions: usize) -> usize {
    let values = product(&[positions, config.kv_heads, config.head_dim]);
    product(&[slots, kv.words(values)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Cpu;

    fn cache(slots: usize) -> KvCache<Cpu> {
        KvCache {
            layers: Vec::new(),
            capacity: 9,
            rings: Vec::new(),
            slots: vec![Slot::default(); slots],
        }
    }

    /// What a window of 10 positions needs stays in a ring of 100, of which as many as may have been written ahead are lost.
    #[test]
    fn rings_keep_what_lies_close_behind() {
        let mut cache = cache(2);
        cache.capacity = 1000;
        cache.rings = vec![Ring {
            window: 10,
            positions: 100,
        }];
        assert_eq!(cache.allocate(), Some(0));
        cache.set_length(0, 36);
        assert!(cache.keeps(0, 1), "nothing was written again yet");
        assert!(!cache.keeps(0, 37), "there are no more tokens");
        cache.set_length(0, 300);
        let least = 300 + AHEAD - 100 + 10 - 1;
        assert!(cache.keeps(0, 300) && cache.keeps(0, least) && cache.keeps(0, 0));
        assert!(!cache.keeps(0, least - 1) && !cache.keeps(0, 1));
        cache.shorten(0, least);
        assert_eq!(cache.length(0), Some(least));
        assert!(!cache.keeps(0, least - 1), "what was lost stays lost");
        assert_eq!(cache.allocate(), Some(1));
        cache.copied(0, 1, least);
        assert!(cache.keeps(1, least) && !cache.keeps(1, least - 1));
        cache.shorten(0, least - 1);
        assert_eq!(cache.length(0), Some(0));
        cache.free(1);
        assert!(cache.keeps(1, least), "a free slot keeps what it has");
        assert!(cache.allocate_slot(1, 0));
        cache.set_length(1, 90);
        assert!(
            cache.keeps(1, 80),
            "a new sequence began at the first position"
        );
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
