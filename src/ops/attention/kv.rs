//! Elements of a KV cache.

use crate::ops::Elem;
use crate::ops::cpu::CachedRows;
use half::f16;
use std::borrow::Cow;

/// How keys and values are cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kv {
    /// As they were computed.
    F32,
    /// Rounded to half precision: half the memory and, in long contexts, twice the speed.
    F16,
}

impl Kv {
    /// Words that hold `n` values, `n` even.
    pub fn words(self, n: usize) -> usize {
        match self {
            Self::F32 => n,
            Self::F16 => n / 2,
        }
    }

    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    /// This, or single precision where heads of `head_dim` values cannot be cached so.
    #[must_use]
    pub fn for_heads(self, head_dim: usize) -> Self {
        match self.takes(head_dim) {
            true => self,
            false => Self::F32,
        }
    }

    /// Whether heads of `head_dim` values can be cached so: a word of two f16 values must not straddle the halves of a head.
    pub fn takes(self, head_dim: usize) -> bool {
        self == Self::F32 || head_dim.is_multiple_of(4)
    }

    pub(in crate::ops) fn elem(self) -> Elem {
        match self {
            Self::F32 => Elem::F32,
            Self::F16 => Elem::F16x2,
        }
    }

    /// The WGSL that reads and writes them: `KvPair`, `KvEight` and their conversions.
    pub(in crate::ops) fn prelude(self) -> &'static str {
        match self {
            Self::F32 => include_str!("../../../shaders/lib/kv_f32.wgsl"),
            Self::F16 => include_str!("../../../shaders/lib/kv_f16.wgsl"),
        }
    }

    /// All values of a cache.
    pub(in crate::ops) fn values(self, words: &[u32]) -> Cow<'_, [f32]> {
        match self {
            Self::F32 => Cow::Borrowed(bytemuck::cast_slice(words)),
            Self::F16 => {
                let halves: &[f16] = bytemuck::cast_slice(words);
                Cow::Owned(halves.iter().map(|h| h.to_f32()).collect())
            }
        }
    }

    /// The values of a cache from `index` on, as the host attends to them.
    pub(in crate::ops) fn rows(self, words: &[u32], index: usize) -> CachedRows<'_> {
        match self {
            Self::F32 => CachedRows::F32(&bytemuck::cast_slice(words)[index..]),
            Self::F16 => CachedRows::F16(&bytemuck::cast_slice(words)[index..]),
        }
    }

    /// Overwrites values from `index` on.
    pub(in crate::ops) fn store(self, words: &mut [u32], index: usize, values: &[f32]) {
        match self {
            Self::F32 => {
                let all: &mut [f32] = bytemuck::cast_slice_mut(words);
                all[index..index + values.len()].copy_from_slice(values);
            }
            Self::F16 => {
                let all: &mut [f16] = bytemuck::cast_slice_mut(words);
                for (half, v) in all[index..].iter_mut().zip(values) {
                    *half = f16::from_f32(*v);
                }
            }
        }
    }

    /// A cache that holds `values`.
    pub(in crate::ops) fn encode(self, values: &[f32]) -> Vec<u32> {
        let mut words = vec![0; self.words(values.len().next_multiple_of(2))];
        self.store(&mut words, 0, values);
        words
    }
}
