//! Words of host memory, in large pages where there are many.

use std::ops::{Deref, DerefMut};

/// Bytes from which memory is asked for in large pages: finding the pages of large weights would take longer than reading
/// them.
#[cfg(all(feature = "mmap", target_os = "linux"))]
const LARGE: usize = 4 << 20;

/// Zeroed words of host memory.
#[derive(Debug)]
pub(super) enum Words {
    /// Of the allocator.
    Small(Vec<u32>),
    /// A mapping of their own, which the system backs with large pages where it has them.
    #[cfg(all(feature = "mmap", target_os = "linux"))]
    Large(memmap2::MmapMut),
}

impl Words {
    /// `count` zeros, or `None` where the system has no memory for them.
    pub(super) fn zeroed(count: usize) -> Option<Self> {
        #[cfg(all(feature = "mmap", target_os = "linux"))]
        if count >= LARGE / 4 {
            let map = memmap2::MmapMut::map_anon(count.checked_mul(4)?).ok()?;
            // a system without large pages refuses, and the small ones do as well
            let _ = map.advise(memmap2::Advice::HugePage);
            return Some(Self::Large(map));
        }
        let zeros = bytemuck::allocation::try_zeroed_vec(count);
        zeros.ok().map(Self::Small)
    }
}

impl Deref for Words {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        match self {
            Self::Small(words) => words,
            #[cfg(all(feature = "mmap", target_os = "linux"))]
            Self::Large(map) => bytemuck::cast_slice(map),
        }
    }
}

impl DerefMut for Words {
    fn deref_mut(&mut self) -> &mut [u32] {
        match self {
            Self::Small(words) => words,
            #[cfg(all(feature = "mmap", target_os = "linux"))]
            Self::Large(map) => bytemuck::cast_slice_mut(map),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_zero_and_keep_what_is_written() {
        for count in [0, 1, 1000, (4 << 20) / 4, (5 << 20) / 4 + 1] {
            let mut words = Words::zeroed(count).expect("there is room");
            assert_eq!(words.len(), count);
            assert!(words.iter().all(|&word| word == 0));
            words.iter_mut().zip(1..).for_each(|(word, i)| *word = i);
            assert!(words.iter().zip(1..).all(|(&word, i)| word == i));
        }
        assert!(Words::zeroed(usize::MAX / 2).is_none());
    }
}
