//! Decoding without waiting: the device chooses a token and goes on with it; ids are read in rounds, a round behind.

use super::{Session, Tokens};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::choice::Sampling;
use crate::model::tap::NoTap;
use crate::ops::sampling::{Argmax, Sample, SampleAll, TopK};
use crate::random::SplitMix64;

/// Most steps of a round: ids are read after each, while the device works on the next one.
pub(super) const ROUND: usize = 32;

/// How the device chooses the next token.
pub enum Choice<'a> {
    /// The most likely one.
    Greedy,
    /// For each sequence a token that is drawn, or the most likely one where the temperature is 0. Penalties are not
    /// applied: they are a [`Sampler`](crate::model::Sampler)'s. There are settings for each sequence, or one that serves
    /// all. In each step sequence i takes one number, [`SplitMix64::next_u32`], from generator i, of which there are as
    /// many as sequences: what a sequence draws does not depend on the others. [`Sampling::generators`] makes them.
    Drawn(&'a [Sampling], &'a mut [SplitMix64]),
}

/// Some steps of decoding that follow each other without the host.
pub(super) struct Round {
    /// Which half of the buffers for ids and random numbers they take.
    pub half: usize,
    /// Index of the newest token of the first member, in the buffer for ids; those of the others follow.
    pub before: usize,
    /// Tokens of each member before the first step.
    pub first: Vec<usize>,
    /// How many, at most [`ROUND`].
    pub steps: usize,
}

impl<B: Backend> Session<'_, B> {
    /// How many sequences go on together.
    pub fn n_seqs(&self) -> usize {
        self.cache.taken().count()
    }

    /// Appends to each sequence its tokens, of any number or none; their logits are not computed.
    ///
    /// # Errors
    /// As [`Session::feed`], and [`Error::Usage`] for another number of lists than there are sequences. After an error all
    /// sequences are as they were, as far as [`Session::rewind`] can bring that back.
    pub async fn feed_each(&mut self, tokens: &[Vec<u32>]) -> Result<()> {
        let sequences: Vec<_> = self.cache.taken().collect();
        if tokens.len() != sequences.len() {
            return Err(Error::usage(
                format!(
                    "tokens of {} sequences for {}",
                    tokens.len(),
                    sequences.len()
                ),
                "give each sequence its own, or none",
            ));
        }
        for (&sequence, tokens) in sequences.iter().zip(tokens) {
            self.known(tokens)?;
            self.room(sequence, tokens.len())?;
        }
        let before: Vec<_> = sequences.iter().map(|&i| self.length(i)).collect();
        for (&sequence, tokens) in sequences.iter().zip(tokens) {
            if let Err(error) = self.extend(tokens, sequence).await {
                for (&sequence, length) in sequences.iter().zip(before) {
                    self.cache.shorten(sequence, length.unwrap_or(0));
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Appends `tokens` to one sequence of several; their logits are not computed.
    ///
    /// # Errors
    /// As [`Session::feed`].
    pub async fn feed_to(&mut self, sequence: usize, tokens: &[u32]) -> Result<()> {
        self.check(sequence, tokens)?;
        self.extend(tokens, sequence).await.map(|_| ())
    }

    /// [`Session::decode_some`] of all sequences.
    ///
    /// # Errors
    /// As there.
    pub async fn decode(
        &mut self,
        last: &[u32],
        steps: usize,
        choice: Choice<'_>,
    ) -> Result<Vec<u32>> {
        let all: Vec<_> = self.cache.taken().collect();
        self.decode_some(&all, last, steps, choice).await
    }

    /// Appends to each sequence of `members` its newest token in `last` and then, `steps` times, the token chosen for it,
    /// the last of which is not appended. Returns the chosen ids, `[steps, members]`. The other sequences stay as they are.
    ///
    /// # Errors
    /// As [`Session::feed`]; [`Error::Usage`] for another number of tokens, settings or generators than there are members,
    /// and for a sequence that comes twice; [`Error::NonFinite`] when nothing can be drawn.
    pub async fn decode_some(
        &mut self,
        members: &[usize],
        last: &[u32],
        steps: usize,
        choice: Choice<'_>,
    ) -> Result<Vec<u32>> {
        numbers(self.decode_ids(members, last, steps, choice).await?)
    }

    /// [`Session::decode_some`] with [`u32::MAX`] where nothing could be chosen. What such a sequence gets afterwards means
    /// nothing; the others are as they would be without it.
    ///
    /// # Errors
    /// As [`Session::decode_some`], but for the last.
    pub async fn decode_ids(
        &mut self,
        members: &[usize],
        last: &[u32],
        steps: usize,
        mut choice: Choice<'_>,
    ) -> Result<Vec<u32>> {
        self.check_members(members, last, steps)?;
        self.provided(&choice, members.len())?;
        self.bring_settings(&choice)?;
        self.members = members.to_vec();
        let backend = &self.model.backend;
        backend.upload(&self.round, self.index(0, -1), last)?;
        let mut all = Vec::with_capacity(steps * members.len());
        let begin: Vec<_> = members
            .iter()
            .map(|&i| self.length(i).unwrap_or(0))
            .collect();
        for &member in members {
            self.grow(member, steps);
        }
        let length = |round: usize| ROUND.min(steps.saturating_sub(round * ROUND));
        let nth = |session: &Self, round: usize| Round {
            half: round % 2,
            before: session.index(round, -1),
            first: begin.iter().map(|first| first + round * ROUND).collect(),
            steps: length(round),
        };
        self.record(&nth(self, 0), &mut choice).await?;
        let mut ids = self.ids(0, length(0));
        for round in 1..=steps.div_ceil(ROUND) {
            // The device goes on with a round while the ids of the one before are on their way.
            self.record(&nth(self, round), &mut choice).await?;
            let next = self.ids(round, length(round));
            all.extend(ids.await?);
            ids = next;
        }
        Ok(all)
    }

    /// Whether `members` are sequences with room for `steps` more tokens, and `last` their newest ones.
    pub(super) fn check_members(
        &self,
        members: &[usize],
        last: &[u32],
        steps: usize,
    ) -> Result<()> {
        if last.len() != members.len() || members.is_empty() {
            return Err(Error::usage(
                format!("{} tokens for {} sequences", last.len(), members.len()),
                "give the newest token of each sequence",
            ));
        }
        for (i, &member) in members.iter().enumerate() {
            self.room(member, steps)?;
            if members[..i].contains(&member) {
                return Err(Error::usage(
                    format!("sequence {member} comes twice"),
                    "give each sequence once",
                ));
            }
        }
        self.known(last)
    }

    /// What the steps of a round will have chosen.
    fn ids(&self, round: usize, steps: usize) -> impl Future<Output = Result<Vec<u32>>> {
        let backend = &self.model.backend;
        let (first, count) = (self.index(round, 0), steps * self.members.len());
        backend.download(&self.round, first, count)
    }

    /// Where the ids of step `step` of a round go: rounds use the halves of the buffer in turn.
    pub(super) fn index(&self, round: usize, step: isize) -> usize {
        let first = (round % 2 * ROUND) as isize;
        (first + step).rem_euclid(2 * ROUND as isize) as usize * self.members.len()
    }

    /// Steps of a round: nothing of them is read here.
    pub(super) async fn record(&self, round: &Round, choice: &mut Choice<'_>) -> Result<()> {
        let (m, n) = (self.model, self.members.len());
        let Round { half, first, .. } = round;
        let mut before = round.before;
        self.bring_numbers(self.index(*half, 0), round.steps, choice)?;
        self.bring_rows(first, round.steps)?;
        for step in 0..round.steps {
            let offset = self.index(*half, step as isize);
            let tokens = match first[..] {
                [position] => Tokens::Run {
                    slot: self.members[0],
                    position: position + step,
                },
                _ => Tokens::Each {
                    row: step * n,
                    end: first.iter().max().map_or(0, |&longest| longest + step + 1),
                },
            };
            m.embed(&self.round, before, n).await?;
            self.blocks(n, tokens, &mut NoTap).await?;
            m.head(&m.scratch.x, n, &self.logits).await?;
            self.choose(n, offset, choice).await?;
            before = offset;
        }
        Ok(())
    }

    /// Whether `choice` has settings and a generator for each of `rows` sequences.
    pub(super) fn provided(&self, choice: &Choice<'_>, rows: usize) -> Result<()> {
        let Choice::Drawn(how, generators) = choice else {
            return Ok(());
        };
        if generators.len() == rows && (how.len() == rows || how.len() == 1) {
            return Ok(());
        }
        Err(Error::usage(
            format!(
                "{} settings and {} generators for {rows} sequences",
                how.len(),
                generators.len()
            ),
            "give each sequence its own generator, and settings to each or one to all",
        ))
    }

    /// Brings the row table of `steps` steps to the device, before which the members have `first` tokens. One sequence
    /// alone needs none.
    fn bring_rows(&self, first: &[usize], steps: usize) -> Result<()> {
        if first.len() == 1 || steps == 0 {
            return Ok(());
        }
        let mut rows = Vec::with_capacity(2 * steps * first.len());
        for step in 0..steps {
            for (&slot, first) in self.members.iter().zip(first) {
                rows.extend([slot as u32, (first + step) as u32]);
            }
        }
        self.model.backend.upload(&self.rows, 0, &rows)
    }

    /// Brings the settings of all rows to the device, unless they are there.
    pub(super) fn bring_settings(&self, choice: &Choice<'_>) -> Result<()> {
        let Choice::Drawn(how, _) = choice else {
            return Ok(());
        };
        let words: Vec<u32> = how
            .iter()
            .flat_map(|how| how.draw_settings().words())
            .collect();
        if *self.uploaded.borrow() != words {
            self.model.backend.upload(&self.settings, 0, &words)?;
            self.uploaded.replace(words);
        }
        Ok(())
    }

    /// Brings the random numbers of `steps` steps to the device, those of the first one to index `offset` of the round.
    pub(super) fn bring_numbers(
        &self,
        offset: usize,
        steps: usize,
        choice: &mut Choice<'_>,
    ) -> Result<()> {
        let Choice::Drawn(_, generators) = choice else {
            return Ok(());
        };
        let mut numbers = Vec::with_capacity(steps * generators.len());
        for _ in 0..steps {
            numbers.extend(generators.iter_mut().map(SplitMix64::next_u32));
        }
        match numbers.is_empty() {
            true => Ok(()),
            false => self.model.backend.upload(&self.random, offset, &numbers),
        }
    }

    /// Draws the next token of each sequence whose logits are there; none is appended.
    ///
    /// # Errors
    /// Failures of the device; [`Error::Usage`] for another number of settings or generators than there are sequences;
    /// [`Error::NonFinite`] when nothing can be drawn.
    pub async fn draw(
        &self,
        sampling: &[Sampling],
        generators: &mut [SplitMix64],
    ) -> Result<Vec<u32>> {
        let rows = self.members.len();
        let mut choice = Choice::Drawn(sampling, generators);
        self.provided(&choice, rows)?;
        self.bring_settings(&choice)?;
        self.bring_numbers(0, 1, &mut choice)?;
        self.choose(rows, 0, &choice).await?;
        let ids = self.model.backend.download(&self.round, 0, rows);
        numbers(ids.await?)
    }

    /// Chooses from `rows` rows of logits; the ids go to index `offset` of the round.
    pub(super) async fn choose(
        &self,
        rows: usize,
        offset: usize,
        choice: &Choice<'_>,
    ) -> Result<()> {
        let Some(adjust) = self.bring_adjustments()? else {
            let buffers = [&self.logits, &self.best, &self.best_logits];
            return self.choose_from(rows, buffers, offset, choice).await;
        };
        let logits = self.adjusted(adjust, rows).await?;
        let buffers = [logits, &self.best, &self.best_logits];
        self.choose_from(rows, buffers, offset, choice).await?;
        self.count(adjust, rows, offset).await
    }

    /// Chooses from `rows` rows of logits, with room for the best ids and logits of each; the ids go to index `offset` of
    /// the round.
    pub(super) async fn choose_from(
        &self,
        rows: usize,
        [logits, best, best_logits]: [&B::Buffer; 3],
        offset: usize,
        choice: &Choice<'_>,
    ) -> Result<()> {
        let (m, n) = (self.model, self.model.config.vocab);
        m.backend.scope(&|| "choice".to_owned());
        let Choice::Drawn(how, _) = choice else {
            let argmax = Argmax { rows, n, offset };
            return m.backend.run(&argmax, &[logits, &self.round]).await;
        };
        let candidates = how.iter().map(|how| how.draw_settings().candidates());
        let candidates: Vec<usize> = candidates.collect();
        let shared = how.len() == 1;
        // Each of the two ops leaves the other's rows alone.
        let k = candidates.iter().max().map_or(0, |&k| k.min(n));
        if k > 0 {
            let buffers = [logits, best, best_logits];
            m.backend.run(&TopK { rows, n, k }, &buffers).await?;
            let sample = Sample {
                rows,
                k,
                offset,
                shared,
            };
            let buffers = [best, best_logits, &self.settings, &self.random, &self.round];
            m.backend.run(&sample, &buffers).await?;
        }
        if candidates.contains(&0) {
            let sample = SampleAll {
                rows,
                n,
                offset,
                shared,
                least_k: SampleAll::LEAST_K,
            };
            let buffers = [logits, &self.settings, &self.random, &self.round];
            m.backend.run(&sample, &buffers).await?;
        }
        Ok(())
    }
}

/// The ids, unless one says that there was nothing to choose.
pub(crate) fn numbers(ids: Vec<u32>) -> Result<Vec<u32>> {
    match ids.iter().position(|&id| id == u32::MAX) {
        Some(index) => Err(Error::NonFinite {
            tensor: "logits of the next token".to_owned(),
            index,
            value: f32::NAN,
        }),
        None => Ok(ids),
    }
}
