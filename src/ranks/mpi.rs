//! The ranks that `mpirun` started, through MPI.
//!
//! MPI ends the job when one of its calls fails, so that none of them returns an error here.

use super::{Counts, Ranks};
use crate::error::{Error, Result};
use mpi::datatype::{Partition, PartitionMut};
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Destination, Root, Source};
use mpi::{Count, Rank, Threading};

/// Most words of one message: MPI counts in `i32`.
const MOST_WORDS: usize = 1 << 28;

/// All ranks of a job.
pub struct Mpi {
    world: SimpleCommunicator,
    local_rank: usize,
    local_size: usize,
    /// Dropped last: it ends MPI.
    _universe: Universe,
}

impl Mpi {
    /// Begins MPI. It ends when this value is dropped, which waits for the other ranks.
    ///
    /// # Errors
    /// [`Error::Usage`] when it was begun before in this process.
    pub fn new() -> Result<Self> {
        // All calls come from the thread that makes the steps.
        let begun = mpi::initialize_with_threading(Threading::Funneled);
        let Some((universe, _)) = begun else {
            return Err(Error::usage(
                "MPI was begun before in this process",
                "use the ranks that were made then",
            ));
        };
        let world = universe.world();
        let host = world.split_shared(world.rank());
        Ok(Self {
            local_rank: index(host.rank()),
            local_size: index(host.size()),
            world,
            _universe: universe,
        })
    }
}

/// Ranks and sizes are never negative.
fn index(rank: Rank) -> usize {
    usize::try_from(rank).unwrap_or(0)
}

/// Counts as MPI has them, and where the parts begin.
fn parts(counts: &[usize]) -> Result<[Vec<Count>; 2]> {
    let (mut sizes, mut places, mut place) = (Vec::new(), Vec::new(), 0_usize);
    for &n in counts {
        let too_many = |_| {
            Error::usage(
                "an exchange of more words than MPI counts",
                "please report this as a bug",
            )
        };
        sizes.push(Count::try_from(n).map_err(too_many)?);
        places.push(Count::try_from(place).map_err(too_many)?);
        place += n;
    }
    Ok([sizes, places])
}

/// The number of a rank as MPI has it.
fn number(rank: usize) -> Rank {
    Rank::try_from(rank).unwrap_or(Rank::MAX)
}

impl Ranks for Mpi {
    fn rank(&self) -> usize {
        index(self.world.rank())
    }

    fn size(&self) -> usize {
        index(self.world.size())
    }

    fn local_rank(&self) -> usize {
        self.local_rank
    }

    fn local_size(&self) -> usize {
        self.local_size
    }

    fn barrier(&self) -> Result<()> {
        self.world.barrier();
        Ok(())
    }

    fn broadcast(&self, root: usize, words: &mut [u32]) -> Result<()> {
        let root = self.world.process_at_rank(number(root));
        for words in words.chunks_mut(MOST_WORDS) {
            root.broadcast_into(words);
        }
        Ok(())
    }

    fn send(&self, to: usize, words: &[u32]) -> Result<()> {
        let to = self.world.process_at_rank(number(to));
        for words in words.chunks(MOST_WORDS) {
            to.send(words);
        }
        Ok(())
    }

    fn receive(&self, of: usize, words: &mut [u32]) -> Result<()> {
        let of = self.world.process_at_rank(number(of));
        for words in words.chunks_mut(MOST_WORDS) {
            of.receive_into(words);
        }
        Ok(())
    }

    fn all_to_all(&self, sent: &[u32], received: &mut [u32], counts: Counts<'_>) -> Result<()> {
        let [sizes, places] = parts(counts.sent)?;
        let sent = Partition::new(sent, sizes, places);
        let [sizes, places] = parts(counts.received)?;
        let mut received = PartitionMut::new(received, sizes, places);
        self.world.all_to_all_varcount_into(&sent, &mut received);
        Ok(())
    }

    fn all_gather(&self, mine: &[u32], all: &mut [u32], counts: &[usize]) -> Result<()> {
        let [sizes, places] = parts(counts)?;
        let mut all = PartitionMut::new(all, sizes, places);
        self.world.all_gather_varcount_into(mine, &mut all);
        Ok(())
    }

    fn abort(&self, code: u8) -> ! {
        self.world.abort(code.into())
    }
}
