//! Decoding in rounds that overlap: the device goes on with a round while the host looks at the one before.

use super::decode::{ROUND, Round};
use super::{Choice, Session};
use crate::backend::Backend;
use crate::error::Result;
use std::pin::Pin;

/// Ids on their way.
type Ids<'m> = Pin<Box<dyn Future<Output = Result<Vec<u32>>> + 'm>>;

/// A round that was begun before anybody asked for it.
pub(super) struct Ahead<'m> {
    members: Vec<usize>,
    /// Its half of the buffers.
    half: usize,
    steps: usize,
    ids: Ids<'m>,
    /// [`Session::changes`] when it was begun: what came afterwards it does not know.
    changes: u64,
}

impl<'m, B: Backend> Session<'m, B> {
    /// Whether the device goes on by itself while the host looks at what it chose before.
    pub fn goes_ahead(&self) -> bool {
        self.model.backend.facts().tuning.ahead
    }

    /// How many steps of the sequences in `members` were begun ahead, and are still to be asked for; `None` where there are none
    /// of all of them. Tokens that others have in them are dropped.
    pub fn steps_ahead(&self, members: &[usize]) -> Option<usize> {
        let ahead = self.ahead.as_ref()?;
        let valid = ahead.changes == self.changes && contains(&ahead.members, members);
        valid.then_some(ahead.steps)
    }

    /// [`Session::decode_ids`] of at most 32 steps, which then begins `next` more of them and does not wait for those: the next
    /// call has to ask for as many. Where steps were begun ahead, that call has to come before anything else is done with their
    /// sequences, but for ending some of them; otherwise the steps are lost and the sequences as they were before.
    ///
    /// Penalties and biases do not go together with this.
    ///
    /// # Errors
    /// As [`Session::decode_ids`].
    pub async fn decode_ahead(
        &mut self,
        members: &[usize],
        last: &[u32],
        [steps, next]: [usize; 2],
        mut choice: Choice<'_>,
    ) -> Result<Vec<u32>> {
        let steps = steps.min(ROUND);
        self.check_members(members, last, steps)?;
        self.provided(&choice, members.len())?;
        let there = self.steps_ahead(members) == Some(steps);
        let mut now = match self.ahead.take().filter(|_| there) {
            Some(ahead) => {
                skip_numbers(&mut choice, steps);
                ahead
            }
            None => self.begin_round(members, last, steps, &mut choice).await?,
        };
        for &member in members {
            self.grow(member, steps);
        }
        let next = next.min(ROUND);
        if next > 0 && now.members == members && self.check_members(members, last, next).is_ok() {
            self.ahead = Some(self.go_on(&now, next, &choice).await?);
        }
        let ids = now.ids.as_mut().await?;
        let of = |member| now.members.iter().position(|&other| other == member);
        let columns: Vec<usize> = members.iter().filter_map(|&member| of(member)).collect();
        let rows = ids.chunks_exact(now.members.len());
        Ok(rows
            .flat_map(|row| columns.iter().map(|&i| row[i]))
            .collect())
    }

    /// Begins a round with tokens that the host has.
    async fn begin_round(
        &mut self,
        members: &[usize],
        last: &[u32],
        steps: usize,
        choice: &mut Choice<'_>,
    ) -> Result<Ahead<'m>> {
        self.bring_settings(choice)?;
        self.members = members.to_vec();
        let before = self.index(0, -1);
        self.model.backend.upload(&self.round, before, last)?;
        self.round_of(0, before, steps, choice).await
    }

    /// Begins the round that follows `now`, whose last tokens are on the device. The random numbers are still those of the
    /// caller's generators: they are drawn from copies.
    async fn go_on(&self, now: &Ahead<'m>, steps: usize, choice: &Choice<'_>) -> Result<Ahead<'m>> {
        let before = self.index(now.half, now.steps as isize - 1);
        let mut copies;
        let mut choice = match choice {
            Choice::Greedy => Choice::Greedy,
            Choice::Drawn(how, generators) => {
                copies = generators.to_vec();
                Choice::Drawn(how, &mut copies)
            }
        };
        self.round_of(1 - now.half, before, steps, &mut choice)
            .await
    }

    async fn round_of(
        &self,
        half: usize,
        before: usize,
        steps: usize,
        choice: &mut Choice<'_>,
    ) -> Result<Ahead<'m>> {
        let members = self.members.clone();
        let length = |&member: &usize| self.length(member).unwrap_or(0);
        let round = Round {
            half,
            before,
            first: members.iter().map(length).collect(),
            steps,
        };
        self.record(&round, choice).await?;
        let (backend, count) = (&self.model.backend, steps * members.len());
        let ids = backend.download(&self.round, self.index(half, 0), count);
        Ok(Ahead {
            members,
            half,
            steps,
            ids: Box::pin(ids),
            changes: self.changes,
        })
    }
}

/// Whether all of `members` are among `all`.
fn contains(all: &[usize], members: &[usize]) -> bool {
    members.iter().all(|member| all.contains(member))
}

/// Passes over the numbers of steps that were begun ahead.
fn skip_numbers(choice: &mut Choice<'_>, steps: usize) {
    if let Choice::Drawn(_, generators) = choice {
        for generator in generators.iter_mut() {
            for _ in 0..steps {
                generator.next_u32();
            }
        }
    }
}
