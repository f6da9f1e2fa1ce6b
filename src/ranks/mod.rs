//! Ranks: processes that train together, each on a device of its own, and what they tell each other.
//!
//! [`Ranks`] is the seam between training and whatever carries words between processes. [`One`] is a rank by itself, whose
//! exchanges cost nothing; `Mpi` (feature `mpi`) is the ranks that `mpirun` started. Sums are made here and not by the
//! carrier, always in the order of the ranks, so that no network and no number of ranks changes a bit of them.

use crate::error::{Error, Result};
use std::ops::Range;

#[cfg(all(unix, feature = "mpi"))]
mod board;
mod exchange;
#[cfg(feature = "mpi")]
mod mpi;
mod one;
mod sum;
#[cfg(test)]
mod threads;
mod together;

pub use exchange::Exchange;
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub use one::One;
pub(crate) use sum::{add, copy};
pub use together::{broadcast_bytes, gather_f64, receive_bytes, send_bytes, sum_u64};

/// A group of ranks, seen by one of them.
///
/// All ranks must make the same calls in the same order; a call returns when this rank has done its part of it.
/// A carrier that fails ends the whole job, since the other ranks would wait forever: see [`Ranks::abort`].
pub trait Ranks {
    /// The number of this rank, from 0. Rank 0 leads: it writes files, and tells people what happens.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn size(&self) -> usize;

    /// The number of this rank among those of the same host, from 0.
    fn local_rank(&self) -> usize;

    /// How many ranks there are on this host.
    fn local_size(&self) -> usize;

    /// Returns when all ranks have called it.
    ///
    /// # Errors
    /// Those of the carrier, as everywhere here.
    fn barrier(&self) -> Result<()>;

    /// Overwrites `words` of every rank by those of rank `root`.
    fn broadcast(&self, root: usize, words: &mut [u32]) -> Result<()>;

    /// Sends words to another rank, which receives as many.
    fn send(&self, to: usize, words: &[u32]) -> Result<()>;

    /// Receives words that another rank sends.
    fn receive(&self, of: usize, words: &mut [u32]) -> Result<()>;

    /// Sends to every rank its part of `sent`, and receives from every rank: parts lie behind each other in the order of
    /// ranks, and have `counts.sent[rank]` and `counts.received[rank]` words.
    fn all_to_all(&self, sent: &[u32], received: &mut [u32], counts: Counts<'_>) -> Result<()>;

    /// The words of all ranks behind each other; rank r has `counts[r]` of them.
    fn all_gather(&self, mine: &[u32], all: &mut [u32], counts: &[usize]) -> Result<()>;

    /// Ends all ranks, this one included, with an exit code.
    fn abort(&self, code: u8) -> !;

    /// Adds vectors of equal length, of which rank r has `held[r]`, at least one: first those of rank 0 in their order,
    /// then those of rank 1, and so on. This rank gets the sums of its [`share`] of the elements.
    fn reduce_scatter(&self, addends: &[&[f32]], held: &[usize]) -> Result<Vec<f32>> {
        sum::reduce_scatter(self, addends, held)
    }

    /// [`Ranks::reduce_scatter`] for all elements, which every rank gets in `sum`.
    fn all_reduce(&self, addends: &[&[f32]], held: &[usize], sum: &mut [f32]) -> Result<()> {
        sum::all_reduce(self, addends, held, sum)
    }
}

/// How many words go to every rank, and come from it.
#[derive(Debug, Clone, Copy)]
pub struct Counts<'a> {
    /// To each.
    pub sent: &'a [usize],
    /// From each.
    pub received: &'a [usize],
}

/// Which of `n` things, dealt to `takers` in their order and as evenly as possible, belong to taker number `taker`.
pub fn share(n: usize, takers: usize, taker: usize) -> Range<usize> {
    // Products of large numbers of elements and of ranks have room in 128 bits.
    let first = |i: usize| (n as u128 * i as u128 / takers.max(1) as u128) as usize;
    first(taker)..first(taker + 1)
}

/// How the micro-batches of a step are dealt to groups, and the groups to ranks. The gradients of a group are summed in
/// order, and then the sums of the groups in their order: bits depend on the number of groups, and not on that of ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dealt {
    micro_batches: usize,
    groups: usize,
    ranks: usize,
}

impl Dealt {
    /// Deals `micro_batches` to `groups`, and these to `ranks`.
    ///
    /// # Errors
    /// [`Error::Usage`] when a group would have no micro-batch, or a rank no group.
    pub fn new(micro_batches: usize, groups: usize, ranks: usize) -> Result<Self> {
        if groups == 0 || groups > micro_batches {
            return Err(Error::usage(
                format!("a step has {micro_batches} micro-batch(es) for `groups` {groups}"),
                "raise `batch_tokens`, lower `micro_batch`, or choose fewer `groups`",
            ));
        }
        if ranks == 0 || ranks > groups {
            return Err(Error::usage(
                format!("{ranks} ranks where a step has `groups` {groups}"),
                "start at most as many ranks as groups, or a run with more of them",
            ));
        }
        Ok(Self {
            micro_batches,
            groups,
            ranks,
        })
    }

    /// The groups of a rank.
    pub fn groups_of(&self, rank: usize) -> Range<usize> {
        share(self.groups, self.ranks, rank)
    }

    /// The micro-batches of a group.
    pub fn micro_batches_of(&self, group: usize) -> Range<usize> {
        share(self.micro_batches, self.groups, group)
    }

    /// How many micro-batches a step has.
    pub fn micro_batches(&self) -> usize {
        self.micro_batches
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// The micro-batches of a rank.
    pub fn of_rank(&self, rank: usize) -> Range<usize> {
        let groups = self.groups_of(rank);
        let first = self.micro_batches_of(groups.start).start;
        first..self.micro_batches_of(groups.end).start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_dealt_once_and_in_order() {
        for (n, takers) in [(12, 6), (7, 3), (5, 5), (3, 8), (0, 2)] {
            let all: Vec<usize> = (0..takers).flat_map(|i| share(n, takers, i)).collect();
            assert_eq!(all, (0..n).collect::<Vec<_>>(), "{n} to {takers}");
        }
        assert_eq!(share(usize::MAX, 2, 1).end, usize::MAX);
        for ranks in 1..=6 {
            let dealt = Dealt::new(13, 6, ranks).expect("enough of both");
            let by_rank: Vec<_> = (0..ranks).flat_map(|rank| dealt.of_rank(rank)).collect();
            assert_eq!(by_rank, (0..13).collect::<Vec<_>>());
            for rank in 0..ranks {
                let groups = dealt.groups_of(rank);
                let of_groups: Vec<_> = groups.flat_map(|g| dealt.micro_batches_of(g)).collect();
                assert_eq!(of_groups, dealt.of_rank(rank).collect::<Vec<_>>());
                assert!(!of_groups.is_empty());
            }
        }
    }

    #[test]
    fn nobody_is_left_without_work() {
        for (micro_batches, groups, ranks) in [(5, 6, 1), (6, 6, 7), (6, 0, 1), (6, 6, 0)] {
            let error = Dealt::new(micro_batches, groups, ranks).expect_err("too few");
            assert_eq!(error.exit_code(), 2, "{error}");
        }
    }
}
