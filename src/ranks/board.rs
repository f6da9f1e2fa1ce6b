//! Memory that ranks of one host share. Each of them writes vectors where all can read them: what a message would copy twice
//! is read where it lies, on all threads of a rank.
//!
//! Vectors come one behind the other, each in the next of a few slots. All ranks go through the same three phases of each:
//! a rank places its addends, makes the sums of its share when all have placed theirs, and takes the sums of all when all have
//! made theirs. A counter for each rank and phase tells the others; nobody overwrites a slot that somebody has not left.

use super::sum::{add_block, each_block};
use super::{Ranks, broadcast_bytes, share, sum_u64};
use crate::error::Result;
use fs4::FileExt;
use memmap2::MmapRaw;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where files are memory.
const FOLDER: &str = "/dev/shm";
/// Vectors that are under way at once.
const SLOTS: u64 = 4;
/// Bytes between two counters: what one rank writes must not slow down who reads another's.
const LINE: usize = 128;
/// Looks at a counter before the processor is left to others, and then how long.
const LOOKS: u32 = 2000;
const PAUSE: Duration = Duration::from_micros(20);

/// The phases of a vector.
#[derive(Clone, Copy)]
enum Phase {
    Placed,
    Summed,
    Taken,
}

/// Shared memory, seen by one rank.
pub(super) struct Board {
    map: MmapRaw,
    rank: usize,
    /// Where the addends of each rank begin among those of a slot, in vectors; the last is their number.
    firsts: Vec<usize>,
    /// Most elements of a vector.
    most: usize,
    /// The vectors that were placed and not taken yet: their numbers of elements.
    flying: VecDeque<usize>,
    /// How many vectors went through each phase here.
    done: [u64; 3],
    /// How long other ranks were waited for.
    pub(super) waited: Duration,
}

impl Board {
    /// Memory for vectors of at most `most` elements, of which rank r has `held[r]`. None where ranks are on several hosts, or
    /// the host has not as much memory to share. All ranks must ask together.
    pub(super) fn open(ranks: &dyn Ranks, held: &[usize], most: usize) -> Result<Option<Self>> {
        if ranks.local_size() < ranks.size() {
            return Ok(None);
        }
        let mut firsts = vec![0];
        for &held in held {
            firsts.push(firsts[firsts.len() - 1] + held);
        }
        let vectors = SLOTS as usize * firsts[held.len()];
        let bytes = 3 * held.len() * LINE + 4 * vectors * most;
        let made = (ranks.rank() == 0).then(|| create(bytes).ok()).flatten();
        let path = made.map_or_else(Vec::new, |path| path.to_string_lossy().into_owned().into());
        let path = PathBuf::from(String::from_utf8_lossy(&broadcast_bytes(ranks, path)?).as_ref());
        let map = open(&path).ok().filter(|map| map.len() == bytes);
        let mapped = sum_u64(ranks, u64::from(map.is_some()))?;
        if ranks.rank() == 0 && !path.as_os_str().is_empty() {
            let _ = std::fs::remove_file(&path); // whoever mapped it keeps it
        }
        let all = mapped == ranks.size() as u64;
        Ok(map.filter(|_| all).map(|map| Self {
            map,
            rank: ranks.rank(),
            firsts,
            most,
            flying: VecDeque::new(),
            done: [0; 3],
            waited: Duration::ZERO,
        }))
    }

    fn size(&self) -> usize {
        self.firsts.len() - 1
    }

    /// How many vectors a rank has left a phase with.
    fn counter(&self, rank: usize, phase: Phase) -> &AtomicU64 {
        let place = (rank * 3 + phase as usize) * LINE;
        // SAFETY: the counters are the first bytes of the map, which begins at a page and outlives the reference; nobody
        // reaches them but through atomics.
        #[allow(unsafe_code)]
        unsafe {
            &*self.map.as_ptr().add(place).cast::<AtomicU64>()
        }
    }

    /// Notes that this rank has done a phase of its next vector.
    fn note(&mut self, phase: Phase) {
        self.done[phase as usize] += 1;
        let done = self.done[phase as usize];
        self.counter(self.rank, phase)
            .store(done, Ordering::Release);
    }

    /// Waits until all ranks have done a phase of so many vectors.
    fn wait(&mut self, phase: Phase, vectors: u64) {
        let begun = Instant::now();
        for rank in 0..self.size() {
            let mut looks = 0;
            while self.counter(rank, phase).load(Ordering::Acquire) < vectors {
                looks += 1;
                match looks < LOOKS {
                    true => std::hint::spin_loop(),
                    false => std::thread::sleep(PAUSE),
                }
            }
        }
        self.waited += begun.elapsed();
    }

    /// Where the first addend of a rank lies, of vector number `vector`.
    fn addends(&self, rank: usize, vector: u64) -> *mut f32 {
        let slot = (vector % SLOTS) as usize * self.firsts[self.size()];
        let place = 3 * self.size() * LINE + 4 * (slot + self.firsts[rank]) * self.most;
        self.map.as_mut_ptr().wrapping_add(place).cast()
    }

    /// The first addend of a rank, which all may read: its share of the sums, or what it gave to all.
    fn read(&self, rank: usize, vector: u64, n: usize) -> &[f32] {
        // SAFETY: the map has room for `most` elements there, and all bits are numbers; between the phases around each call,
        // nobody writes them.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts(self.addends(rank, vector), n)
        }
    }

    /// Begins a vector of `n` elements: `write` overwrites the addends of this rank, one behind the other.
    pub(super) fn place(&mut self, n: usize, write: impl FnOnce(&mut [f32])) {
        let vector = self.done[Phase::Placed as usize];
        self.wait(Phase::Taken, (vector + 1).saturating_sub(SLOTS));
        let held = self.firsts[self.rank + 1] - self.firsts[self.rank];
        // SAFETY: the map has room for them, all bits are numbers, and nobody reads them before they are noted as placed:
        // the vector that was here before was taken by all.
        #[allow(unsafe_code)]
        let own =
            unsafe { std::slice::from_raw_parts_mut(self.addends(self.rank, vector), held * n) };
        write(own);
        self.flying.push_back(n);
        self.note(Phase::Placed);
    }

    /// How many vectors were placed and have no sums yet, and how many were not taken.
    pub(super) fn flying(&self) -> [usize; 2] {
        let [placed, summed, _] = self.done;
        [(placed - summed) as usize, self.flying.len()]
    }

    /// Makes this rank's share of the sums of the oldest vector that has none, in place of its own first addend's.
    pub(super) fn sum(&mut self) {
        let vector = self.done[Phase::Summed as usize];
        let taken = self.done[Phase::Taken as usize];
        let n = self.flying[(vector - taken) as usize];
        self.wait(Phase::Placed, vector + 1);
        let mine = share(n, self.size(), self.rank);
        let begins = |rank: usize| {
            let held = self.firsts[rank + 1] - self.firsts[rank];
            (0..held).map(move |i| (rank, i * n))
        };
        let order: Vec<_> = (0..self.size()).flat_map(begins).collect();
        // SAFETY: as in `read` for what others placed; of this share nobody but this rank reads or writes anything now.
        #[allow(unsafe_code)]
        let addend = |(rank, first): (usize, usize), from: usize, n: usize| unsafe {
            std::slice::from_raw_parts(self.addends(rank, vector).add(first + from), n)
        };
        // SAFETY: likewise, and `addend` is not asked for what lies here: the share of this rank's own first addend.
        #[allow(unsafe_code)]
        let sums = unsafe {
            let own = self.addends(self.rank, vector).add(mine.start);
            std::slice::from_raw_parts_mut(own, mine.len())
        };
        each_block(sums, |first, sums| {
            let from = mine.start + first;
            let mut sum = Vec::with_capacity(sums.len());
            for &at in &order {
                let part = match at == (self.rank, 0) {
                    true => &*sums, // what will be overwritten
                    false => addend(at, from, sums.len()),
                };
                match sum.is_empty() {
                    true => sum.extend_from_slice(part),
                    false => add_block(&mut sum, part),
                }
            }
            sums.copy_from_slice(&sum);
        });
        self.note(Phase::Summed);
    }

    /// Makes no sums of the oldest vector that has none: its addends are what everyone takes.
    pub(super) fn leave(&mut self) {
        self.note(Phase::Summed);
    }

    /// Ends the oldest vector: `read` gets, of every rank in turn, its share of the sums.
    pub(super) fn take(&mut self, mut read: impl FnMut(&[f32])) {
        let size = self.size();
        self.take_of(
            |rank, n| share(n, size, rank).end,
            |rank, n, all| {
                read(&all[share(n, size, rank)]);
            },
        );
    }

    /// Ends the oldest vector: `read` gets the first words of every rank, as many as `count` says.
    pub(super) fn take_of(
        &mut self,
        count: impl Fn(usize, usize) -> usize,
        mut read: impl FnMut(usize, usize, &[f32]),
    ) {
        let vector = self.done[Phase::Taken as usize];
        let Some(n) = self.flying.pop_front() else {
            return;
        };
        self.wait(Phase::Summed, vector + 1);
        for rank in 0..self.size() {
            read(rank, n, self.read(rank, vector, count(rank, n)));
        }
        self.note(Phase::Taken);
    }
}

/// A new file of so many zero bytes of memory, which the host has.
fn create(bytes: usize) -> std::io::Result<PathBuf> {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let name = format!("fairy2i-gpu-{}-{}", std::process::id(), now.as_nanos());
    let path = Path::new(FOLDER).join(name);
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    let room = FileExt::allocate(&file, bytes as u64);
    room.inspect_err(|_| {
        let _ = std::fs::remove_file(&path); // the error is what counts
    })?;
    Ok(path)
}

fn open(path: &Path) -> std::io::Result<MmapRaw> {
    let file: File = OpenOptions::new().read(true).write(true).open(path)?;
    MmapRaw::map_raw(&file)
}
