//! Words that are written where they are needed: rows of a weight on their way from a file to a device.

use crate::error::Result;

/// Words of one block: small enough for a core's cache, large enough to be worth a thread's while.
const BLOCK: usize = 16 << 10;
/// Words that [`Fill::pieces`] holds at a time (8 MiB).
const PIECE: usize = 2 << 20;

/// Called with the index of a row and a slice of whole rows: overwrites the slice with the rows from that index on. The
/// calls come in any order, from several threads.
pub type Write<'a> = dyn Fn(usize, &mut [u32]) + Sync + 'a;

/// Rows of words, and the function that writes any number of consecutive ones.
pub struct Fill<'a> {
    rows: usize,
    row_words: usize,
    write: &'a Write<'a>,
}

impl<'a> Fill<'a> {
    /// `rows` rows of `row_words` words (at least one), as `write` writes them.
    pub fn new(rows: usize, row_words: usize, write: &'a Write<'a>) -> Self {
        Self {
            rows,
            row_words: row_words.max(1),
            write,
        }
    }

    /// Words of all rows.
    pub fn words(&self) -> usize {
        self.rows * self.row_words
    }

    /// About `most` words, in whole rows.
    pub(super) fn whole_rows(&self, most: usize) -> usize {
        (most / self.row_words).max(1) * self.row_words
    }

    /// Words that one call writes.
    pub(super) fn block(&self) -> usize {
        self.whole_rows(BLOCK)
    }

    /// Writes the rows from word `first` on, on this thread.
    pub(super) fn block_at(&self, first: usize, words: &mut [u32]) {
        (self.write)(first / self.row_words, words);
    }

    /// Writes the rows from word `first` on, on all threads.
    pub(super) fn write(&self, first: usize, words: &mut [u32]) {
        let block = self.block();
        #[cfg(feature = "threads")]
        {
            use rayon::prelude::*;
            let blocks = words.par_chunks_mut(block).enumerate();
            blocks.for_each(|(i, words)| self.block_at(first + i * block, words));
        }
        #[cfg(not(feature = "threads"))]
        for (i, words) in words.chunks_mut(block).enumerate() {
            self.block_at(first + i * block, words);
        }
    }

    /// Hands everything to `take(first, words)` in pieces of a few megabytes, in order.
    pub(super) fn pieces(&self, mut take: impl FnMut(usize, &[u32]) -> Result<()>) -> Result<()> {
        let (all, piece) = (self.words(), self.whole_rows(PIECE));
        let mut staging = vec![0; piece.min(all)];
        for first in (0..all).step_by(piece) {
            let words = &mut staging[..piece.min(all - first)];
            self.write(first, words);
            take(first, words)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row comes once, whole, at its place, for rows shorter and longer than a block.
    #[test]
    fn pieces_are_whole_rows_in_order() {
        for (rows, row_words) in [(0, 3), (1, 1), (5, 7), (3000, 1001), (3, PIECE + 1)] {
            let write = |first: usize, words: &mut [u32]| {
                assert_eq!(words.len() % row_words, 0);
                for (i, w) in words.iter_mut().enumerate() {
                    *w = (first * row_words + i) as u32;
                }
            };
            let fill = Fill::new(rows, row_words, &write);
            let mut next = 0;
            let taken = fill.pieces(|first, words| {
                assert_eq!(first, next);
                assert!(words.iter().zip(first..).all(|(&w, i)| w == i as u32));
                next += words.len();
                Ok(())
            });
            assert!(taken.is_ok());
            assert_eq!(next, rows * row_words);
        }
    }
}
