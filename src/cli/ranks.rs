//! Ranks: copies of the program that `mpirun` started, to train together.

use super::{out, remedy};
use crate::error::{Error, Result};
use crate::ranks::{One, Ranks};
use std::time::Duration;

/// What those who start ranks put into the environment: how many there are (Open MPI, MPICH), or which one this is (PMIx,
/// as Slurm starts them).
const STARTED: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"];

/// An error that all ranks meet is told by the first one, which ends the job: the others give it this time.
const PATIENCE: Duration = Duration::from_secs(1);

/// The ranks that were started, or this process by itself.
pub(super) fn open() -> Result<Box<dyn Ranks>> {
    let mut started = STARTED.into_iter();
    let ranks = match started.find(|name| std::env::var_os(name).is_some()) {
        None => return Ok(Box::new(One)),
        Some(name) => started_by(name)?,
    };
    // The ranks of a host share its cores: more threads than those were slower at adding gradients.
    if std::env::var_os("RAYON_NUM_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (cores / ranks.local_size()).max(1);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let _ = pool.build_global(); // threads that are there already stay as they are
    }
    Ok(ranks)
}

#[cfg(feature = "mpi")]
fn started_by(_name: &str) -> Result<Box<dyn Ranks>> {
    Ok(Box::new(crate::ranks::Mpi::new()?))
}

/// Copies that know nothing of each other would all train the same, and be in each other's way.
#[cfg(not(feature = "mpi"))]
fn started_by(name: &str) -> Result<Box<dyn Ranks>> {
    match std::env::var(name).unwrap_or_default().as_str() {
        "0" | "1" if name != "PMIX_RANK" => Ok(Box::new(One)),
        number => Err(Error::usage(
            format!("started as one of several ranks ({name} is {number}), but built without MPI"),
            "build with `--features mpi`, or start the program by itself",
        )),
    }
}

/// Ends the work of a rank. One that failed says so, and ends the others, which would wait for it.
pub(super) fn end(ranks: &dyn Ranks, done: Result<()>) -> Result<()> {
    let (rank, size) = (ranks.rank(), ranks.size());
    let Err(error) = done else { return Ok(()) };
    if size == 1 {
        return Err(error);
    }
    if rank > 0 {
        std::thread::sleep(PATIENCE);
    }
    let line = remedy::line(&error);
    out::note(&format!("error: rank {rank} of {size}: {line}"));
    ranks.abort(error.exit_code())
}

/// The item of a list, separated by commas, that belongs to this rank among those of its host. What has no comma is of
/// all; so is everything where there is one rank, since names of devices may have commas.
pub(super) fn own<'a>(list: &'a str, ranks: &dyn Ranks) -> Result<&'a str> {
    let (rank, size) = (ranks.local_rank(), ranks.local_size());
    if ranks.size() == 1 || !list.contains(',') {
        return Ok(list);
    }
    let items: Vec<&str> = list.split(',').collect();
    match items.get(rank) {
        Some(item) if items.len() == size => Ok(item),
        _ => Err(Error::usage(
            format!(
                "--device {list}: {} devices for {size} ranks of this host",
                items.len()
            ),
            "list as many, or name one for all",
        )),
    }
}
