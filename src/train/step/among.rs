//! A step that several ranks make together: each computes the gradients of its groups of micro-batches, and all get the
//! sum of all groups, added in the order of the groups.

use super::Trainer;
use super::given::Given;
use super::options::Batch;
use super::trainer::{StepReport, some_count};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::ranks::{Dealt, Ranks, gather_f64, sum_u64};

/// Most words of gradients that are exchanged at once: 16 MiB.
const BUCKET: usize = 1 << 22;

/// Those who make a step together, and what each of them does of it.
#[derive(Clone, Copy)]
pub struct Among<'a> {
    /// All ranks, seen by this one.
    pub ranks: &'a dyn Ranks,
    /// Who computes which micro-batch.
    pub dealt: Dealt,
}

impl Among<'_> {
    /// How many groups each rank has sums of. The first rank adds its own as they come: the sum of all begins with them.
    fn held(&self) -> Vec<usize> {
        let of = |rank| match rank {
            0 => 1,
            rank => self.dealt.groups_of(rank).len(),
        };
        (0..self.ranks.size()).map(of).collect()
    }
}

/// A run of values of one parameter's gradient.
struct Piece {
    parameter: usize,
    first: usize,
    n: usize,
}

/// The gradients in buckets of at most [`BUCKET`] words, in the order of the parameters, whose lengths these are.
fn buckets(lengths: impl Iterator<Item = (usize, usize)>) -> Vec<Vec<Piece>> {
    let (mut all, mut bucket, mut room) = (Vec::new(), Vec::new(), BUCKET);
    for (parameter, length) in lengths {
        let mut first = 0;
        while first < length {
            let n = room.min(length - first);
            bucket.push(Piece {
                parameter,
                first,
                n,
            });
            (first, room) = (first + n, room - n);
            if room == 0 {
                all.push(std::mem::take(&mut bucket));
                room = BUCKET;
            }
        }
    }
    if !bucket.is_empty() {
        all.push(bucket);
    }
    all
}

impl<B: Backend> Trainer<B> {
    /// [`Trainer::step`] among several ranks; `batches` are those that are dealt to this one. All ranks must hold the same
    /// parameters, and get the same report. The sums depend on the number of groups, not on that of ranks; with one rank
    /// and one group this is [`Trainer::step`].
    ///
    /// # Errors
    /// As [`Trainer::step`]; [`Error::Usage`] for another number of batches than are dealt to this rank, and
    /// [`Error::Device`] when the ranks' devices do not compute the same bits.
    pub async fn step_among(
        &mut self,
        among: Among<'_>,
        batches: &[Batch<'_>],
        lr: f64,
        weight_decay: f64,
    ) -> Result<StepReport> {
        let (ranks, dealt) = (among.ranks, among.dealt);
        let mine = dealt.of_rank(ranks.rank());
        if batches.len() != mine.len() {
            return Err(Error::usage(
                format!(
                    "{} micro-batches for a rank that {} were dealt to",
                    batches.len(),
                    mine.len()
                ),
                "deal them as the ranks do",
            ));
        }
        if ranks.size() == 1 && dealt.groups() == 1 {
            return self.step(batches, lr, weight_decay).await;
        }
        self.check_batches(batches)?;
        self.check_teacher()?;
        Given::<B>::NOTHING.check(self.options.scope, 0, false)?;
        let counted: usize = batches.iter().map(Batch::counted).sum();
        let tokens = some_count(sum_u64(ranks, counted as u64)? as usize)?;
        let (mut losses, mut sums) = (Vec::new(), Vec::new());
        let groups = dealt.groups_of(ranks.rank());
        for group in groups.clone() {
            let of = dealt.micro_batches_of(group);
            let batches = &batches[of.start - mine.start..of.end - mine.start];
            let factor = self.progress.scale() / tokens as f64;
            losses.push(self.pass_of_group(batches, factor).await?);
            // The last group's gradients leave the device a bucket at a time.
            if group + 1 < groups.end {
                self.keep(ranks.rank() == 0, &mut sums).await?;
            }
        }
        self.exchange(among, &sums).await?;
        let counts: Vec<usize> = (0..ranks.size())
            .map(|rank| dealt.groups_of(rank).len())
            .collect();
        let losses = gather_f64(ranks, &losses, &counts)?;
        let mut loss = losses.first().copied().unwrap_or(0.0);
        losses.iter().skip(1).for_each(|of_group| loss += of_group);
        let mean = loss / tokens as f64;
        let report = self.finish(ranks, mean, tokens, (lr, weight_decay)).await?;
        if !report.skipped {
            self.share(ranks).await?;
        }
        Ok(report)
    }

    /// Makes the gradients those of a group, and returns the sum of its losses.
    async fn pass_of_group(&mut self, batches: &[Batch<'_>], factor: f64) -> Result<f64> {
        self.prepare(batches).await?;
        self.clear().await?;
        self.passes(batches, &Given::NOTHING, factor).await
    }

    /// All buckets of the gradients.
    fn buckets(&self) -> Vec<Vec<Piece>> {
        let trained = self.list.iter().zip(&self.tensors).enumerate();
        let trained = trained.filter(|(_, (_, tensors))| tensors.formats.moments.is_some());
        buckets(trained.map(|(i, (parameter, _))| (i, parameter.len())))
    }

    /// Keeps the gradients on the host, behind those in `sums`, or added to them where that is allowed (`add`).
    async fn keep(&self, add: bool, sums: &mut Vec<Vec<f32>>) -> Result<()> {
        let mut all = Vec::new();
        for bucket in self.buckets() {
            all.extend(self.download_bucket(&bucket).await?);
        }
        match sums.last_mut().filter(|_| add) {
            Some(sum) => sum.iter_mut().zip(all).for_each(|(sum, v)| *sum += v),
            None => sums.push(all),
        }
        Ok(())
    }

    async fn download_bucket(&self, bucket: &[Piece]) -> Result<Vec<f32>> {
        let mut all = Vec::with_capacity(bucket.iter().map(|piece| piece.n).sum());
        for piece in bucket {
            let gradient = &self.tensors[piece.parameter].gradient;
            all.extend(
                self.backend
                    .download(gradient, piece.first, piece.n)
                    .await?,
            );
        }
        Ok(bytemuck::cast_vec(all))
    }

    /// Makes the gradients the sum of those of all groups: the groups before the last of this rank are in `before`, as
    /// [`Trainer::keep`] left them, and the last one's are on the device.
    async fn exchange(&self, among: Among<'_>, before: &[Vec<f32>]) -> Result<()> {
        let held = among.held();
        let leads = among.ranks.rank() == 0;
        let mut place = 0;
        for bucket in self.buckets() {
            let mut last = self.download_bucket(&bucket).await?;
            let of = place..place + last.len();
            place = of.end;
            let mut addends: Vec<&[f32]> = before.iter().map(|sum| &sum[of.clone()]).collect();
            if leads && let Some(sum) = addends.pop() {
                // Which of two numbers is added to the other changes no bit.
                last.iter_mut().zip(sum).for_each(|(v, sum)| *v += sum);
            }
            addends.push(&last);
            let mut sum = vec![0.0; last.len()];
            among.ranks.all_reduce(&addends, &held, &mut sum)?;
            let mut rest = sum.as_slice();
            for piece in &bucket {
                let (values, behind) = rest.split_at(piece.n);
                let gradient = &self.tensors[piece.parameter].gradient;
                self.backend
                    .upload(gradient, piece.first, bytemuck::cast_slice(values))?;
                rest = behind;
            }
        }
        Ok(())
    }
}

/// Refuses a norm that is not the same on all ranks: their devices compute other bits, and their parameters would drift
/// apart from here on.
pub(super) fn same_norm(ranks: &dyn Ranks, norm: f64) -> Result<()> {
    let all = gather_f64(ranks, &[norm], &vec![1; ranks.size()])?;
    let other = all.iter().position(|n| n.to_bits() != norm.to_bits());
    other.map_or(Ok(()), |rank| {
        Err(Error::device(
            format!(
                "rank {rank} finds a gradient of norm {}, and rank {} one of {norm}, from the same numbers",
                all[rank],
                ranks.rank()
            ),
            "give all ranks devices of the same kind and the same drivers",
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_have_every_value_once_and_in_order() {
        let lengths = [3, 0, BUCKET - 4, 2 * BUCKET, 5];
        let all = buckets(lengths.into_iter().enumerate());
        let mut seen = lengths.map(|_| 0);
        for bucket in &all {
            let words: usize = bucket.iter().map(|piece| piece.n).sum();
            assert!((1..=BUCKET).contains(&words));
            for piece in bucket {
                assert_eq!(piece.first, seen[piece.parameter]);
                seen[piece.parameter] += piece.n;
            }
        }
        assert_eq!(seen, lengths);
        assert_eq!(all.len(), 4);
        assert!(buckets(std::iter::empty()).is_empty());
    }
}
