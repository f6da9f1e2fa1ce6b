//! A rank by itself.

use super::{Counts, Ranks};
use crate::error::Result;

/// The only rank. Nothing has to be sent: what it would get from itself is copied where a caller wants it elsewhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct One;

impl Ranks for One {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn local_rank(&self) -> usize {
        0
    }

    fn local_size(&self) -> usize {
        1
    }

    fn barrier(&self) -> Result<()> {
        Ok(())
    }

    fn broadcast(&self, _root: usize, _words: &mut [u32]) -> Result<()> {
        Ok(())
    }

    fn send(&self, to: usize, _words: &[u32]) -> Result<()> {
        Err(nobody(to))
    }

    fn receive(&self, of: usize, _words: &mut [u32]) -> Result<()> {
        Err(nobody(of))
    }

    fn all_to_all(&self, sent: &[u32], received: &mut [u32], _counts: Counts<'_>) -> Result<()> {
        received.copy_from_slice(sent);
        Ok(())
    }

    fn all_gather(&self, mine: &[u32], all: &mut [u32], _counts: &[usize]) -> Result<()> {
        all.copy_from_slice(mine);
        Ok(())
    }

    fn abort(&self, code: u8) -> ! {
        std::process::exit(code.into())
    }
}

/// The error of a message to or from a rank that is not there.
fn nobody(rank: usize) -> crate::error::Error {
    crate::error::Error::usage(
        format!("a message between rank 0 and rank {rank}, where there is one rank"),
        "please report this as a bug",
    )
}
