//! Sums over ranks of one vector after the other, and words of all ranks for all.

use super::Ranks;
#[cfg(all(unix, feature = "mpi"))]
use super::{board::Board, copy};
use crate::error::Result;
use std::time::Duration;

/// Vectors on their way through all ranks, in the order in which they were given. Where the ranks are of one host that lets
/// them share memory, one is summed while the next is written; elsewhere each goes through [`Ranks::all_reduce`].
pub struct Exchange {
    held: Vec<usize>,
    most: usize,
    #[cfg(all(unix, feature = "mpi"))]
    board: Option<Board>,
    addends: Vec<f32>,
    sum: Vec<f32>,
}

impl Exchange {
    /// For vectors of at most `most` elements, of which rank r has `held[r]` addends, at least one. All ranks must ask together.
    ///
    /// # Errors
    /// Those of the carrier, as everywhere here.
    pub fn open(ranks: &dyn Ranks, held: &[usize], most: usize) -> Result<Self> {
        #[cfg(not(all(unix, feature = "mpi")))]
        let _ = ranks; // who shares no memory has nothing to open
        Ok(Self {
            held: held.to_vec(),
            most,
            #[cfg(all(unix, feature = "mpi"))]
            board: match ranks.size() {
                1 => None,
                _ => Board::open(ranks, held, most)?,
            },
            addends: Vec::new(),
            sum: Vec::new(),
        })
    }

    /// Whether it is for such vectors.
    pub fn suits(&self, held: &[usize], most: usize) -> bool {
        self.held == held && self.most == most
    }

    /// How long this rank has waited for others whose memory it shares, so far.
    pub fn waited(&self) -> Duration {
        #[cfg(all(unix, feature = "mpi"))]
        if let Some(board) = &self.board {
            return board.waited;
        }
        Duration::ZERO
    }

    /// Gives the next vector, of `n` elements: `write` overwrites all addends of this rank, one behind the other. `taken` gets
    /// parts of the sums of this one or of earlier ones, in order.
    ///
    /// # Errors
    /// Those of the carrier.
    pub fn give(
        &mut self,
        ranks: &dyn Ranks,
        n: usize,
        write: impl FnOnce(&mut [f32]),
        mut taken: impl FnMut(&[f32]),
    ) -> Result<()> {
        #[cfg(all(unix, feature = "mpi"))]
        if let Some(board) = &mut self.board {
            board.place(n, write);
            if board.flying()[0] > 1 {
                board.sum();
            }
            if board.flying()[1] > 2 {
                board.take(taken);
            }
            return Ok(());
        }
        let held = self.held[ranks.rank()];
        self.addends.resize(self.addends.len().max(held * n), 0.0);
        write(&mut self.addends[..held * n]);
        if ranks.size() == 1 && held == 1 {
            taken(&self.addends[..n]);
            return Ok(());
        }
        self.sum.resize(self.sum.len().max(n), 0.0);
        let each = |i: usize| &self.addends[i * n..(i + 1) * n];
        let addends: Vec<&[f32]> = (0..held).map(each).collect();
        ranks.all_reduce(&addends, &self.held, &mut self.sum[..n])?;
        taken(&self.sum[..n]);
        Ok(())
    }

    /// Gives to `taken` what is left of the sums of all vectors.
    pub fn finish(&mut self, mut taken: impl FnMut(&[f32])) {
        #[cfg(all(unix, feature = "mpi"))]
        if let Some(board) = &mut self.board {
            while board.flying()[1] > 0 {
                if board.flying()[0] > 0 {
                    board.sum();
                }
                board.take(&mut taken);
            }
        }
        let _ = &mut taken; // without shared memory nothing is left
    }

    /// Tells all ranks the words of each: rank r has `counts[r]` of them, at most the elements of a vector. `taken` gets the
    /// number of each rank, and its words. All vectors must be finished.
    ///
    /// # Errors
    /// Those of the carrier.
    pub fn gather(
        &mut self,
        ranks: &dyn Ranks,
        counts: &[usize],
        words: &[u32],
        mut taken: impl FnMut(usize, &[u32]) -> Result<()>,
    ) -> Result<()> {
        #[cfg(all(unix, feature = "mpi"))]
        if let Some(board) = &mut self.board {
            let mut done = Ok(());
            // Of the addends of this rank, as many words as it has.
            board.place(self.most, |all| {
                copy(bytemuck::cast_slice_mut(&mut all[..words.len()]), words);
            });
            board.leave();
            board.take_of(
                |rank, _| counts[rank],
                |rank, _, words| {
                    if done.is_ok() {
                        done = taken(rank, bytemuck::cast_slice(words));
                    }
                },
            );
            return done;
        }
        let mut all = vec![0; counts.iter().sum()];
        ranks.all_gather(words, &mut all, counts)?;
        let mut rest = all.as_slice();
        for (rank, &count) in counts.iter().enumerate() {
            let (words, behind) = rest.split_at(count);
            taken(rank, words)?;
            rest = behind;
        }
        Ok(())
    }
}
