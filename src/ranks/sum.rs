//! Sums over ranks, in the order of the ranks.

use super::{Counts, Ranks, share};
use crate::error::Result;

/// See [`Ranks::reduce_scatter`]. Every rank sends to each other one that one's share of its addends: this is as few words
/// as there can be where every sum is made in one place.
pub(super) fn reduce_scatter<R: Ranks + ?Sized>(
    ranks: &R,
    addends: &[&[f32]],
    held: &[usize],
) -> Result<Vec<f32>> {
    let n = addends.first().map_or(0, |a| a.len());
    let (size, rank) = (ranks.size(), ranks.rank());
    let mine = share(n, size, rank);
    if size == 1 {
        return Ok(added(addends.iter().map(|a| &a[mine.clone()])));
    }
    let mut sent: Vec<u32> = Vec::with_capacity(n * addends.len());
    for to in 0..size {
        for addend in addends {
            sent.extend_from_slice(bytemuck::cast_slice(&addend[share(n, size, to)]));
        }
    }
    let counts_sent: Vec<usize> = (0..size)
        .map(|to| addends.len() * share(n, size, to).len())
        .collect();
    let counts_received: Vec<usize> = held.iter().map(|held| held * mine.len()).collect();
    let mut received = vec![0; counts_received.iter().sum()];
    let counts = Counts {
        sent: &counts_sent,
        received: &counts_received,
    };
    ranks.all_to_all(&sent, &mut received, counts)?;
    if mine.is_empty() {
        return Ok(Vec::new());
    }
    let received: &[f32] = bytemuck::cast_slice(&received);
    Ok(added(received.chunks_exact(mine.len())))
}

/// See [`Ranks::all_reduce`].
pub(super) fn all_reduce<R: Ranks + ?Sized>(
    ranks: &R,
    addends: &[&[f32]],
    held: &[usize],
    sum: &mut [f32],
) -> Result<()> {
    let mine = reduce_scatter(ranks, addends, held)?;
    let counts: Vec<usize> = (0..ranks.size())
        .map(|rank| share(sum.len(), ranks.size(), rank).len())
        .collect();
    ranks.all_gather(
        bytemuck::cast_slice(&mine),
        bytemuck::cast_slice_mut(sum),
        &counts,
    )
}

/// The sum of vectors, the second added to the first, the third to that sum, and so on.
fn added<'a>(mut addends: impl Iterator<Item = &'a [f32]>) -> Vec<f32> {
    let mut sum = addends.next().unwrap_or_default().to_vec();
    for addend in addends {
        add(&mut sum, addend);
    }
    sum
}

/// Adds a vector to a sum, on all threads. Which of two numbers is added to the other changes no bit.
pub(crate) fn add(sum: &mut [f32], addend: &[f32]) {
    each_block(sum, |first, sum| {
        add_block(sum, &addend[first..first + sum.len()]);
    });
}

/// Adds a vector to a sum, on this thread.
pub(super) fn add_block(sum: &mut [f32], addend: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(addend) {
        *sum += value;
    }
}

/// Elements that a thread takes at once.
const BLOCK: usize = 32 << 10;

/// Calls `work` with blocks of a vector, and where each begins, on all threads.
pub(super) fn each_block<T: Send>(all: &mut [T], work: impl Fn(usize, &mut [T]) + Sync + Send) {
    #[cfg(feature = "threads")]
    {
        use rayon::prelude::*;
        let blocks = all.par_chunks_mut(BLOCK).enumerate();
        blocks.for_each(|(i, block)| work(i * BLOCK, block));
    }
    #[cfg(not(feature = "threads"))]
    for (i, block) in all.chunks_mut(BLOCK).enumerate() {
        work(i * BLOCK, block);
    }
}

/// Copies a vector, on all threads.
pub(crate) fn copy<T: Copy + Send + Sync>(all: &mut [T], of: &[T]) {
    each_block(all, |first, block| {
        block.copy_from_slice(&of[first..first + block.len()]);
    });
}
