//! Ranks that are threads of one process: for tests.

use super::{Counts, Exchange, Ranks, share};
use crate::error::Result;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};

/// A rank that is a thread.
struct Thread {
    rank: usize,
    to: Vec<Sender<Vec<u32>>>,
    of: Vec<Receiver<Vec<u32>>>,
    all: Arc<Barrier>,
}

/// Runs `work` on `size` ranks at once, and returns what each of them made.
fn on<T: Send>(size: usize, work: impl Fn(&dyn Ranks) -> T + Sync) -> Vec<T> {
    let all = Arc::new(Barrier::new(size));
    let mut made: Vec<_> = (0..size)
        .map(|rank| Thread {
            rank,
            to: Vec::new(),
            of: Vec::new(),
            all: all.clone(),
        })
        .collect();
    for to in 0..size {
        for of in 0..size {
            let (sender, receiver) = channel();
            made[of].to.push(sender);
            made[to].of.push(receiver);
        }
    }
    std::thread::scope(|scope| {
        let work = &work;
        let spawn = |rank: Thread| scope.spawn(move || work(&rank));
        let threads: Vec<_> = made.into_iter().map(spawn).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, T>| thread.join().expect("it ends");
        threads.into_iter().map(join).collect()
    })
}

/// Where the parts of these sizes lie.
fn ranges(counts: &[usize]) -> impl Iterator<Item = Range<usize>> {
    counts.iter().scan(0, |place, n| {
        *place += n;
        Some(*place - n..*place)
    })
}

impl Ranks for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn local_rank(&self) -> usize {
        self.rank
    }

    fn local_size(&self) -> usize {
        self.to.len()
    }

    fn barrier(&self) -> Result<()> {
        self.all.wait();
        Ok(())
    }

    fn broadcast(&self, root: usize, words: &mut [u32]) -> Result<()> {
        if self.rank == root {
            for to in 0..self.size() {
                self.send(to, words)?;
            }
        }
        self.receive(root, words)
    }

    fn send(&self, to: usize, words: &[u32]) -> Result<()> {
        self.to[to].send(words.to_vec()).expect("it listens");
        Ok(())
    }

    fn receive(&self, of: usize, words: &mut [u32]) -> Result<()> {
        words.copy_from_slice(&self.of[of].recv().expect("it sends"));
        Ok(())
    }

    fn all_to_all(&self, sent: &[u32], received: &mut [u32], counts: Counts<'_>) -> Result<()> {
        for (to, range) in ranges(counts.sent).enumerate() {
            self.send(to, &sent[range])?;
        }
        for (of, range) in ranges(counts.received).enumerate() {
            self.receive(of, &mut received[range])?;
        }
        Ok(())
    }

    fn all_gather(&self, mine: &[u32], all: &mut [u32], counts: &[usize]) -> Result<()> {
        for to in 0..self.size() {
            self.send(to, mine)?;
        }
        for (of, range) in ranges(counts).enumerate() {
            self.receive(of, &mut all[range])?;
        }
        Ok(())
    }

    fn abort(&self, code: u8) -> ! {
        panic!("rank {} ends the job with {code}", self.rank)
    }
}

/// Values whose sum depends on the order of addition.
fn addend(group: usize, n: usize) -> Vec<f32> {
    let value = |i: usize| ((7 * group + i) as f32 * 0.37).sin() * 10_f32.powi(group as i32 % 5);
    (0..n).map(value).collect()
}

#[test]
fn sums_have_the_same_bits_on_any_number_of_ranks() {
    const GROUPS: usize = 6;
    for n in [0, 1, 5, 1000] {
        let mut want = addend(0, n);
        for group in 1..GROUPS {
            for (sum, value) in want.iter_mut().zip(addend(group, n)) {
                *sum += value;
            }
        }
        for size in 1..=GROUPS {
            let held: Vec<usize> = (0..size).map(|r| share(GROUPS, size, r).len()).collect();
            let sums = on(size, |ranks| {
                let mine: Vec<_> = share(GROUPS, size, ranks.rank())
                    .map(|group| addend(group, n))
                    .collect();
                let mine: Vec<&[f32]> = mine.iter().map(Vec::as_slice).collect();
                let mut sum = vec![f32::NAN; n];
                ranks.all_reduce(&mine, &held, &mut sum).expect("it adds");
                let part = ranks.reduce_scatter(&mine, &held).expect("it adds");
                assert_eq!(part, sum[share(n, size, ranks.rank())]);
                sum
            });
            for sum in sums {
                let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&sum), bits(&want), "{size} ranks, {n} elements");
            }
        }
    }
}

/// More vectors than are under way at once, the shortest ones with fewer elements than there are ranks.
#[test]
fn vectors_on_their_way_have_the_sums_of_all_reduce() {
    const LENGTHS: [usize; 7] = [1000, 1, 7, 999, 2, 64, 1000];
    for size in 1..=4 {
        let held: Vec<usize> = (0..size).map(|r| share(5, size, r).len()).collect();
        let right = on(size, |ranks| {
            let mut exchange = Exchange::open(ranks, &held, 1000).expect("it opens");
            let (mut sums, mut want) = (Vec::new(), Vec::new());
            let groups = share(5, size, ranks.rank());
            for turn in 0..3 {
                for n in LENGTHS {
                    let addends = groups.clone().map(|group| addend(5 * turn + group, n));
                    let addends: Vec<_> = addends.collect();
                    let write = |all: &mut [f32]| all.copy_from_slice(&addends.concat());
                    let given = exchange.give(ranks, n, write, |part| sums.extend_from_slice(part));
                    given.expect("it is given");
                    let addends: Vec<&[f32]> = addends.iter().map(Vec::as_slice).collect();
                    let mut sum = vec![f32::NAN; n];
                    ranks.all_reduce(&addends, &held, &mut sum).expect("adds");
                    want.extend(sum);
                }
                exchange.finish(|part| sums.extend_from_slice(part));
                let counts: Vec<usize> = (0..size).map(|rank| 3 * rank).collect();
                let words = vec![ranks.rank() as u32; counts[ranks.rank()]];
                let mut told = Vec::new();
                let gathered = exchange.gather(ranks, &counts, &words, |rank, words| {
                    assert_eq!(words.len(), counts[rank]);
                    told.extend_from_slice(words);
                    Ok(())
                });
                gathered.expect("all tell");
                let all: Vec<u32> = (0..size).flat_map(|r| vec![r as u32; 3 * r]).collect();
                assert_eq!(told, all);
            }
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            bits(&sums) == bits(&want)
        });
        assert!(right.into_iter().all(|right| right), "{size} ranks");
    }
}

#[test]
fn what_one_rank_knows_reaches_all() {
    let heard = on(3, |ranks| {
        let text = match ranks.rank() {
            0 => b"seven bytes and more".to_vec(),
            _ => Vec::new(),
        };
        let text = super::broadcast_bytes(ranks, text).expect("it is sent");
        let counts = [0, 1, 2];
        let mine = vec![0.5 + ranks.rank() as f64; ranks.rank()];
        let numbers = super::gather_f64(ranks, &mine, &counts).expect("they are sent");
        let sum = super::sum_u64(ranks, u64::from(u32::MAX) + ranks.rank() as u64);
        ranks.barrier().expect("all come");
        (text, numbers, sum.expect("it adds"))
    });
    for (text, numbers, sum) in heard {
        assert_eq!(text, b"seven bytes and more");
        assert_eq!(numbers, [1.5, 2.5, 2.5]);
        assert_eq!(sum, 3 * u64::from(u32::MAX) + 3);
    }
}
