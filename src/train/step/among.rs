//! A step that several ranks make together: each computes the gradients of its groups of micro-batches, and all get the
//! sum of all groups, added in the order of the groups.

use super::Trainer;
use super::departure::{Departure, Goal, Times};
use super::given::Given;
use super::options::Batch;
use super::parameters::Parameter;
use super::scope::Scope;
use super::tensors::Tensors;
use super::trainer::{StepReport, some_count};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::ranks::{Dealt, Ranks, gather_f64, sum_u64};
use std::ops::Range;
use web_time::Instant;

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
        self.meet(ranks, Some(&among.held()))?;
        let mut losses = Vec::new();
        let groups = dealt.groups_of(ranks.rank());
        for group in groups.clone() {
            let of = dealt.micro_batches_of(group);
            let batches = &batches[of.start - mine.start..of.end - mine.start];
            let factor = self.progress.scale() / tokens as f64;
            // The last group's gradients go to all ranks, those of others wait for it on the host.
            let goal = match group + 1 == groups.end {
                true => Goal::Ranks(ranks),
                false => Goal::Host,
            };
            losses.push(self.pass_of_group(batches, factor, goal).await?);
        }
        let Self {
            backend,
            tensors,
            departure: Some(departure),
            ..
        } = self
        else {
            return Err(unmet());
        };
        departure.upload(backend, tensors)?;
        let counts: Vec<usize> = (0..ranks.size())
            .map(|rank| dealt.groups_of(rank).len())
            .collect();
        let losses = gather_f64(ranks, &losses, &counts)?;
        let mut loss = losses.first().copied().unwrap_or(0.0);
        losses.iter().skip(1).for_each(|of_group| loss += of_group);
        let mean = loss / tokens as f64;
        let begun = Instant::now();
        let report = self.finish(ranks, mean, tokens, (lr, weight_decay)).await?;
        let update = begun.elapsed();
        if !report.skipped {
            self.share(ranks).await?;
        }
        if let Some(departure) = &mut self.departure {
            departure.times.update += update;
        }
        Ok(report)
    }

    /// Makes the gradients those of a group, which leave for their goal, and returns the sum of its losses.
    async fn pass_of_group(
        &mut self,
        batches: &[Batch<'_>],
        factor: f64,
        goal: Goal<'_>,
    ) -> Result<f64> {
        if let (Goal::Host, Some(departure)) = (goal, &mut self.departure) {
            departure.keep();
        }
        self.prepare(batches).await?;
        self.clear().await?;
        // Where something is made of all gradients of a weight, they leave behind that.
        let early = !self.options.learned_scales && self.options.scope == Scope::Whole;
        let leaving = Some(goal).filter(|_| early);
        let loss = self
            .passes(batches, &Given::NOTHING, factor, leaving)
            .await?;
        if !early {
            self.leave(Some(goal), 0..self.list.len()).await?;
            self.arrive(goal).await?;
        }
        Ok(loss)
    }

    /// Opens what the ranks exchange gradients through, unless it is open: for ranks with so many sums of groups, or any.
    pub(super) fn meet(&mut self, ranks: &dyn Ranks, held: Option<&[usize]>) -> Result<()> {
        let one = vec![1; ranks.size()];
        let open = self.departure.as_ref();
        if !open.is_some_and(|open| held.is_none_or(|held| open.suits(held))) {
            let all = self.list.iter().zip(&self.tensors);
            let length = |(parameter, tensors): (&Parameter, &Tensors<B>)| {
                let trained = tensors.formats.moments.is_some();
                if trained { parameter.len() } else { 0 }
            };
            let wanted = |i: usize| self.tensors[i].formats.owned;
            let lengths = all.map(length).collect();
            let held = held.unwrap_or(&one);
            self.departure = Some(Departure::new(ranks, held, lengths, wanted)?);
        }
        self.departure.as_mut().map_or(Ok(()), |open| {
            open.begin();
            Ok(())
        })
    }

    /// The gradients of these parameters are complete, and leave if there is a goal.
    pub(super) async fn leave(
        &mut self,
        goal: Option<Goal<'_>>,
        parameters: Range<usize>,
    ) -> Result<()> {
        let (Some(goal), Some(departure)) = (goal, &mut self.departure) else {
            return Ok(());
        };
        let of = (&self.backend, &self.tensors[..]);
        departure.leave(of, goal, parameters).await
    }

    /// Waits until all gradients that left are there.
    pub(super) async fn arrive(&mut self, goal: Goal<'_>) -> Result<()> {
        let Some(departure) = &mut self.departure else {
            return Err(unmet());
        };
        let of = (&self.backend, &self.tensors[..]);
        departure.arrive(of, goal).await
    }

    /// Where the time went since the first step among ranks, on this one.
    pub fn times(&self) -> Times {
        let departure = self.departure.as_ref();
        departure.map_or_else(Times::default, |departure| departure.times)
    }
}

/// The error of gradients that leave where no ranks have met.
fn unmet() -> Error {
    Error::usage(
        "gradients that leave before ranks have met",
        "please report this as a bug",
    )
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
