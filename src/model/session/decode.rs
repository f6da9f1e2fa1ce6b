//! Decoding without waiting: the device chooses a token and goes on with it; ids are read in rounds, a round behind.

use super::{Session, Tokens};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::choice::{MAX_TOP_K, Sampling};
use crate::model::tap::NoTap;
use crate::ops::sampling::{Argmax, DrawSettings, Sample, TopK};
use crate::random::SplitMix64;

/// Most steps of a round: ids are read after each, while the device works on the next one.
pub(super) const ROUND: usize = 32;

/// How the device chooses the next token.
pub enum Choice<'a> {
    /// The most likely one.
    Greedy,
    /// For each sequence one of its `top_k` most likely tokens (between 1 and [`MAX_TOP_K`]), as [`Sample`] draws, or the
    /// most likely one where the temperature is 0. There are settings for each sequence, or one that serves all. In each step
    /// sequence i takes one number, [`SplitMix64::next_u32`], from generator i, of which there are as many as sequences: what
    /// a sequence draws does not depend on the others. [`Sampling::generators`] makes them.
    Drawn(&'a [Sampling], &'a mut [SplitMix64]),
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
    /// sequences are as they were.
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
                    self.cache.set_length(sequence, length.unwrap_or(0));
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

    /// Appends to each sequence of `members` its newest token in `last` and then, `steps` times, the token chosen for it, the
    /// last of which is not appended. Returns the chosen ids, `[steps, members]`. The other sequences stay as they are.
    ///
    /// # Errors
    /// As [`Session::feed`]; [`Error::Usage`] for another number of tokens, settings or generators than there are members,
    /// and for a sequence that comes twice; [`Error::NonFinite`] when nothing can be drawn.
    pub async fn decode_some(
        &mut self,
        members: &[usize],
        last: &[u32],
        steps: usize,
        mut choice: Choice<'_>,
    ) -> Result<Vec<u32>> {
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
        self.known(last)?;
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
        self.record(0, &begin, length(0), &mut choice).await?;
        let mut ids = self.ids(0, length(0));
        for round in 1..=steps.div_ceil(ROUND) {
            // The device goes on with a round while the ids of the one before are on their way.
            self.record(round, &begin, length(round), &mut choice)
                .await?;
            let next = self.ids(round, length(round));
            all.extend(numbers(ids.await?)?);
            ids = next;
        }
        Ok(all)
    }

    /// What the steps of a round will have chosen.
    fn ids(&self, round: usize, steps: usize) -> impl Future<Output = Result<Vec<u32>>> {
        let backend = &self.model.backend;
        let (first, count) = (self.index(round, 0), steps * self.members.len());
        backend.download(&self.round, first, count)
    }

    /// Where the ids of step `step` of a round go: rounds use the halves of the buffer in turn.
    fn index(&self, round: usize, step: isize) -> usize {
        let first = (round % 2 * ROUND) as isize;
        (first + step).rem_euclid(2 * ROUND as isize) as usize * self.members.len()
    }

    /// Steps of a round, before whose decoding the members had `begin` tokens: nothing of them is read here.
    async fn record(
        &self,
        round: usize,
        begin: &[usize],
        steps: usize,
        choice: &mut Choice<'_>,
    ) -> Result<()> {
        let (m, n) = (self.model, self.members.len());
        let first: Vec<_> = begin.iter().map(|length| length + round * ROUND).collect();
        self.bring_numbers(self.index(round, 0), steps, choice)?;
        self.bring_rows(&first, steps)?;
        for step in 0..steps {
            let [before, offset] = [-1, 0].map(|by| self.index(round, step as isize + by));
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

    /// Brings the row table of `steps` steps to the device, before which the members have `first` tokens. One sequence alone
    /// needs none.
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
            .flat_map(|how| self.drawing(how).words())
            .collect();
        if *self.uploaded.borrow() != words {
            self.model.backend.upload(&self.settings, 0, &words)?;
            self.uploaded.replace(words);
        }
        Ok(())
    }

    /// What `how` means for one row.
    fn drawing(&self, how: &Sampling) -> DrawSettings {
        let greedy = how.temperature == 0.0;
        DrawSettings {
            k: match greedy {
                true => 1,
                false => how.top_k.clamp(1, MAX_TOP_K.min(self.model.config.vocab)),
            },
            temperature: if greedy { 1.0 } else { how.temperature },
            top_p: how.top_p,
            min_p: how.min_p,
        }
    }

    /// Brings the random numbers of `steps` steps to the device, those of the first one to index `offset` of the round.
    fn bring_numbers(&self, offset: usize, steps: usize, choice: &mut Choice<'_>) -> Result<()> {
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
        let buffers = [&self.logits, &self.best, &self.best_logits];
        self.choose_from(rows, buffers, offset, choice).await
    }

    /// Chooses from `rows` rows of logits, with room for the best ids and logits of each; the ids go to index `offset` of the
    /// round.
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
        let k = how.iter().map(|how| self.drawing(how).k).max().unwrap_or(1);
        let buffers = [logits, best, best_logits];
        m.backend.run(&TopK { rows, n, k }, &buffers).await?;
        let sample = Sample {
            rows,
            k,
            offset,
            shared: how.len() == 1,
        };
        let buffers = [best, best_logits, &self.settings, &self.random, &self.round];
        m.backend.run(&sample, &buffers).await
    }
}

/// The ids, unless one says that there was nothing to choose.
pub(super) fn numbers(ids: Vec<u32>) -> Result<Vec<u32>> {
    match ids.iter().position(|&id| id == u32::MAX) {
        Some(index) => Err(Error::NonFinite {
            tensor: "logits of the next token".to_owned(),
            index,
            value: f32::NAN,
        }),
        None => Ok(ids),
    }
}
