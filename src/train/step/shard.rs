//! Masters and moments that are dealt to ranks (the first stage of ZeRO, arXiv 1910.02054): each rank updates the
//! parameters that it owns, and tells the others what came of them. Of a quantized layer that is codes and scales: nobody
//! else needs its master, and with two stages two bits a weight travel instead of 32.

use super::Trainer;
use super::departure::BUCKET;
use super::formats::Formats;
use super::parameters::Parameter;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::files::run::Part;
use crate::ranks::{Exchange, Ranks};
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::ops::Range;
use web_time::Instant;

/// Buckets of words that come from the device before the ranks are told.
const AHEAD: usize = 8;

/// Which of the ranks that share masters and moments a trainer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Its number, from 0.
    pub rank: usize,
    /// How many there are.
    pub ranks: usize,
}

/// The owner of every parameter: the largest ones are dealt first, each to the rank that has least until then.
pub(super) fn owners(list: &[Parameter], ranks: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..list.len()).collect();
    order.sort_by_key(|&i| Reverse(list[i].len()));
    let (mut loads, mut owners) = (vec![0_usize; ranks.max(1)], vec![0; list.len()]);
    for i in order {
        let least = (0..loads.len()).min_by_key(|&rank| loads[rank]);
        owners[i] = least.unwrap_or(0);
        loads[owners[i]] += list[i].len();
    }
    owners
}

/// The first words of a buffer, which one rank has and all need.
pub(super) struct Owned<'a, B: Backend> {
    pub owner: usize,
    pub buffer: &'a B::Buffer,
    pub words: usize,
}

/// A run of words of one of several [`Owned`].
struct Run {
    of: usize,
    words: Range<usize>,
}

/// All words in buckets of at most [`BUCKET`].
fn buckets<B: Backend>(all: &[Owned<'_, B>]) -> Vec<Vec<Run>> {
    let (mut buckets, mut room) = (vec![Vec::new()], BUCKET);
    for (of, owned) in all.iter().enumerate() {
        let mut first = 0;
        while first < owned.words {
            if room == 0 {
                buckets.push(Vec::new());
                room = BUCKET;
            }
            let n = room.min(owned.words - first);
            let bucket = buckets.len() - 1;
            buckets[bucket].push(Run {
                of,
                words: first..first + n,
            });
            (first, room) = (first + n, room - n);
        }
    }
    buckets
}

/// Overwrites words by those of the ranks that own them. The next buckets come from the device while one is told to others.
pub(super) async fn of_owners<B: Backend>(
    backend: &B,
    ranks: &dyn Ranks,
    exchange: &mut Exchange,
    all: &[Owned<'_, B>],
) -> Result<()> {
    let (rank, size) = (ranks.rank(), ranks.size());
    let (buckets, mut asked) = (buckets(all), VecDeque::new());
    let of = |bucket: &[Run], rank: usize| {
        let of_rank = bucket.iter().filter(|run| all[run.of].owner == rank);
        let runs = of_rank.map(|run| (all[run.of].buffer, run.words.clone()));
        runs.collect::<Vec<_>>()
    };
    let mut next = buckets.iter();
    for bucket in &buckets {
        while asked.len() < AHEAD
            && let Some(bucket) = next.next()
        {
            asked.push_back(backend.ask(&of(bucket, rank))?);
        }
        let Some(mine) = asked.pop_front() else {
            return Ok(()); // as many were asked for as there are
        };
        let words = |r: usize| of(bucket, r).iter().map(|(_, run)| run.len()).sum();
        let counts: Vec<usize> = (0..size).map(words).collect();
        let told = backend.answer(mine, |words| {
            exchange.gather(ranks, &counts, words, |owner, mut words| {
                for (buffer, run) in of(bucket, owner) {
                    let (own, behind) = words.split_at(run.len());
                    if owner != rank {
                        backend.upload(buffer, run.start, own)?;
                    }
                    words = behind;
                }
                Ok(())
            })
        });
        told.await??;
    }
    Ok(())
}

impl<B: Backend> Trainer<B> {
    /// Whether masters and moments are dealt to several ranks.
    pub(super) fn is_sharded(&self) -> bool {
        self.options.shard.is_some_and(|shard| shard.ranks > 1)
    }

    /// The rank that updates each parameter, and has all of its parts: rank 0 where nothing is sharded.
    pub fn owners(&self) -> Vec<usize> {
        self.tensors.iter().map(|t| t.formats.owner).collect()
    }

    /// Whether this rank has a part of parameter `index`.
    pub(super) fn holds(&self, part: Part, index: usize) -> bool {
        let formats: Formats = self.tensors[index].formats;
        match part {
            Part::Master => !formats.absent,
            Part::First | Part::Second => formats.owned,
        }
    }

    /// Makes the weights that the forward pass sees the same on all ranks, from the masters of their owners: before the
    /// first step, after a checkpoint was taken, and after every update. It does nothing where nothing is sharded.
    ///
    /// # Errors
    /// Those of quantizing a master that has grown too large; [`Error::Device`] from the device, and those of the carrier.
    pub async fn share(&mut self, ranks: &dyn Ranks) -> Result<()> {
        if !self.is_sharded() {
            return Ok(());
        }
        let begun = Instant::now();
        self.meet(ranks, None)?;
        let (backend, list, tensors) = (&self.backend, &self.list, &self.tensors);
        self.quantizer.refresh(backend, list, tensors).await?;
        let all = list.iter().zip(tensors).enumerate();
        let dense = all.filter(|(i, _)| !self.quantizer.quantizes(*i));
        let dense = dense.map(|(_, (parameter, tensors))| Owned {
            owner: tensors.formats.owner,
            buffer: &tensors.value,
            words: parameter.len(),
        });
        let all: Vec<_> = dense.chain(self.quantizer.coded(list, tensors)).collect();
        if let Some(departure) = &mut self.departure {
            of_owners(backend, ranks, departure.exchange(), &all).await?;
            departure.times.share += begun.elapsed();
        }
        Ok(())
    }

    /// Refuses to quantize masters that are elsewhere.
    pub(super) fn check_shared(&self) -> Result<()> {
        if self.is_sharded() && !self.quantizer.is_fresh() {
            return Err(Error::usage(
                "weights whose masters other ranks have changed",
                "share them among the ranks first",
            ));
        }
        Ok(())
    }

    /// [`Trainer::words`] of whichever rank has them, on rank 0; nothing on the others, which must ask as well.
    ///
    /// # Errors
    /// As [`Trainer::words`], and those of the carrier.
    pub async fn words_among(
        &self,
        ranks: &dyn Ranks,
        part: Part,
        index: usize,
    ) -> Result<Option<Vec<u32>>> {
        let everywhere = part == Part::Master && !self.quantizer.quantizes(index);
        let owner = match everywhere {
            true => 0,
            false => self.tensors[index].formats.owner,
        };
        let mine = match ranks.rank() == owner {
            true => Some(self.words(part, index).await?),
            false => None,
        };
        match (ranks.rank(), owner, mine) {
            (0, 0, mine) => Ok(mine),
            (0, owner, _) => {
                let mut words = vec![0; self.words_of(part, index)];
                ranks.receive(owner, &mut words)?;
                Ok(Some(words))
            }
            (_, _, Some(words)) => ranks.send(0, &words).map(|()| None),
            _ => Ok(None),
        }
    }

    /// [`Trainer::read`] of whichever rank has the values, on rank 0; nothing on the others, which must ask as well.
    ///
    /// # Errors
    /// As [`Trainer::words_among`].
    pub async fn read_among(
        &self,
        ranks: &dyn Ranks,
        part: Part,
        index: usize,
    ) -> Result<Option<Vec<f32>>> {
        let words = self.words_among(ranks, part, index).await?;
        Ok(words.map(|words| self.values(part, index, words)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Form;
    use crate::train::step::Kind;

    #[test]
    fn every_rank_owns_its_share() {
        let parameter = |i: usize| Parameter {
            name: i.to_string(),
            kind: Kind::Linear,
            form: Form::WidelyLinear,
            half_run: 0,
            rows: 1 + i % 7,
            columns: 64,
        };
        let list: Vec<_> = (0..100).map(parameter).collect();
        let all: usize = list.iter().map(Parameter::len).sum();
        for ranks in [1, 2, 3, 8] {
            let mut loads = vec![0; ranks];
            for (parameter, owner) in list.iter().zip(owners(&list, ranks)) {
                loads[owner] += parameter.len();
            }
            assert_eq!(loads.iter().sum::<usize>(), all);
            let most = loads.into_iter().max().expect("a rank");
            assert!(most * ranks <= all + 7 * 64 * ranks, "{most} of {all}");
        }
    }
}
