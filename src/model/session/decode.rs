//! Decoding without waiting: the device chooses a token and goes on with it; ids are read in rounds, a round behind.

use super::MAX_TOP_K;
use super::{Session, Text};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::sampling::Sampling;
use crate::model::tap::NoTap;
use crate::ops::sampling::Sample;
use crate::ops::sampling::{Argmax, TopK};
use crate::random::SplitMix64;

/// Most steps of a round: ids are read after each, while the device works on the next one.
pub const ROUND: usize = 32;

/// How the device chooses the next token.
pub enum Choice<'a> {
    /// The most likely one.
    Greedy,
    /// For each text one of its `top_k` most likely tokens (between 1 and [`MAX_TOP_K`]), as [`Sample`] draws. In each
    /// step text i takes one number, [`SplitMix64::next_u32`], from generator i, of which there are as many as texts:
    /// what a text draws does not depend on the others. [`Sampling::generators`] makes them.
    Drawn(&'a Sampling, &'a mut [SplitMix64]),
}

impl<B: Backend> Session<'_, B> {
    /// Texts that go on together.
    pub fn texts(&self) -> usize {
        self.texts
    }

    /// Appends to each text its tokens, as many to all; their logits are not computed.
    ///
    /// # Errors
    /// As [`Session::feed`], and [`Error::Usage`] for another number of texts or unequal lengths.
    pub async fn feed_each(&mut self, texts: &[Vec<u32>]) -> Result<()> {
        let length = texts.first().map_or(0, Vec::len);
        if texts.len() != self.texts || texts.iter().any(|t| t.len() != length) {
            return Err(Error::usage(
                format!(
                    "{} texts of unequal number or length for {}",
                    texts.len(),
                    self.texts
                ),
                "give one text of the same length to each stream",
            ));
        }
        texts.iter().try_for_each(|tokens| self.check(tokens))?;
        let begin = self.position;
        for (i, tokens) in texts.iter().enumerate() {
            self.position = begin;
            if let Err(error) = self.extend(tokens, i).await {
                self.position = begin; // what only some texts have counts for none
                return Err(error);
            }
        }
        Ok(())
    }

    /// Appends `last` (the newest token of each text) and then, `steps` times, the token chosen for each text, the
    /// last of which is not appended. Returns the chosen ids, `[steps, texts]`.
    ///
    /// # Errors
    /// As [`Session::feed`]; [`Error::Usage`] for another number of tokens or generators than there are texts;
    /// [`Error::NonFinite`] when nothing can be drawn.
    pub async fn decode(
        &mut self,
        last: &[u32],
        steps: usize,
        mut choice: Choice<'_>,
    ) -> Result<Vec<u32>> {
        if last.len() != self.texts {
            return Err(Error::usage(
                format!("{} tokens for {} texts", last.len(), self.texts),
                "give the newest token of each text",
            ));
        }
        self.known(last)?;
        self.room(steps)?;
        self.provided(&choice)?;
        let m = self.model;
        m.backend.upload(&self.round, self.place(0, -1), last)?;
        let mut all = Vec::with_capacity(steps * self.texts);
        let begin = self.position;
        self.position += steps;
        let length = |round: usize| ROUND.min(steps.saturating_sub(round * ROUND));
        self.record(0, begin, length(0), &mut choice).await?;
        let mut ids = self.ids(0, length(0));
        for round in 1..=steps.div_ceil(ROUND) {
            // the device goes on with a round while the ids of the one before are on their way
            let first = begin + round * ROUND;
            self.record(round, first, length(round), &mut choice)
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
        backend.download(&self.round, self.place(round, 0), steps * self.texts)
    }

    /// Where the ids of step `step` of a round go: rounds use the halves of the buffer in turn.
    fn place(&self, round: usize, step: isize) -> usize {
        let first = (round % 2 * ROUND) as isize;
        (first + step).rem_euclid(2 * ROUND as isize) as usize * self.texts
    }

    /// Steps of a round, whose first token enters position `first`: nothing of them is read here.
    async fn record(
        &self,
        round: usize,
        first: usize,
        steps: usize,
        choice: &mut Choice<'_>,
    ) -> Result<()> {
        let (m, texts) = (self.model, self.texts);
        self.bring_numbers(self.place(round, 0), steps, choice)?;
        for step in 0..steps {
            let (before, to) = (
                self.place(round, step as isize - 1),
                self.place(round, step as isize),
            );
            m.embed(&self.round, before, texts).await?;
            self.blocks(first + step, texts, Text::Each, &mut NoTap)
                .await?;
            m.head(&m.scratch.x, texts, &self.logits).await?;
            self.choose(to, choice).await?;
        }
        Ok(())
    }

    /// Whether `choice` has a generator for each text.
    pub(super) fn provided(&self, choice: &Choice<'_>) -> Result<()> {
        match choice {
            Choice::Drawn(_, generators) if generators.len() != self.texts => Err(Error::usage(
                format!("{} generators for {} texts", generators.len(), self.texts),
                "give each text its own",
            )),
            _ => Ok(()),
        }
    }

    /// Brings the random numbers of `steps` steps to the device, those of the first one to place `to` of the round.
    fn bring_numbers(&self, to: usize, steps: usize, choice: &mut Choice<'_>) -> Result<()> {
        let Choice::Drawn(_, generators) = choice else {
            return Ok(());
        };
        let mut numbers = Vec::with_capacity(steps * generators.len());
        for _ in 0..steps {
            numbers.extend(generators.iter_mut().map(SplitMix64::next_u32));
        }
        match numbers.is_empty() {
            true => Ok(()),
            false => self.model.backend.upload(&self.random, to, &numbers),
        }
    }

    /// Draws the next token of each text on the device, from the logits that are there; none is appended.
    ///
    /// # Errors
    /// Failures of the device; [`Error::Usage`] for another number of generators than there are texts;
    /// [`Error::NonFinite`] when nothing can be drawn.
    pub async fn draw(
        &self,
        sampling: &Sampling,
        generators: &mut [SplitMix64],
    ) -> Result<Vec<u32>> {
        let mut choice = Choice::Drawn(sampling, generators);
        self.provided(&choice)?;
        self.bring_numbers(0, 1, &mut choice)?;
        self.choose(0, &choice).await?;
        let ids = self.model.backend.download(&self.round, 0, self.texts);
        numbers(ids.await?)
    }

    /// Chooses from the logits; the ids go to place `to` of the round.
    pub(super) async fn choose(&self, to: usize, choice: &Choice<'_>) -> Result<()> {
        let from = [&self.logits, &self.best, &self.best_logits];
        self.choose_from(self.texts, from, to, choice).await
    }

    /// Chooses from `rows` rows of logits, with room for the best ids and logits of each; the ids go to place `to` of the
    /// round.
    pub(super) async fn choose_from(
        &self,
        rows: usize,
        [logits, best, best_logits]: [&B::Buffer; 3],
        to: usize,
        choice: &Choice<'_>,
    ) -> Result<()> {
        let (m, n) = (self.model, self.model.config.vocab);
        m.backend.scope(&|| "choice".to_owned());
        let Choice::Drawn(how, _) = choice else {
            let argmax = Argmax { rows, n, to };
            return m.backend.run(&argmax, &[logits, &self.round]).await;
        };
        let k = how.top_k.clamp(1, MAX_TOP_K.min(n));
        let buffers = [logits, best, best_logits];
        m.backend.run(&TopK { rows, n, k }, &buffers).await?;
        let sample = Sample {
            rows,
            k,
            to,
            temperature: how.temperature,
            top_p: how.top_p,
            min_p: how.min_p,
        };
        let buffers = [best, best_logits, &self.random, &self.round];
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
