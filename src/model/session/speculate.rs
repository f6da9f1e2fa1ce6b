//! Speculative decoding: a cheaper reading of the model drafts tokens, and the model itself checks all of them in one pass.
//!
//! The sequences are those of decoding token by token: a draft only decides how many tokens a pass gives. Both readings use one
//! cache. The draft leaves its keys and values where the pass that checks it puts the model's own, so that a draft sees the
//! whole past as the model has it.

use super::decode::{ROUND, numbers};
use super::{Choice, Session, Tokens};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::model::choice::{MAX_TOP_K, Sampling};
use crate::model::linear::tile_rows;
use crate::model::tap::NoTap;
use crate::random::SplitMix64;

/// Most tokens that are drafted at once: with the token before them they are as many as products of the exact kind take
/// on every device.
pub const MAX_DRAFTED: usize = 7;

/// A model that drafts for a session, and room for what the session's own model says of the drafts.
pub struct Speculation<'m, B: Backend> {
    draft: &'m Model<B>,
    /// Most tokens that are drafted at once.
    most: usize,
    /// [most + 1, vocab], of whole tiles.
    logits: B::Buffer,
    /// [most + 1, k] each.
    best: B::Buffer,
    best_logits: B::Buffer,
}

impl<B: Backend> Speculation<'_, B> {
    /// Most tokens that are drafted at once.
    pub fn most(&self) -> usize {
        self.most
    }
}

impl<'m, B: Backend> Session<'m, B> {
    /// Room for drafts of at most `most` tokens by `draft`: a model of the same shape on the same device, such as the first
    /// stages of the session's own.
    ///
    /// # Errors
    /// [`Error::Usage`] for a draft of another shape or with other caches, for no tokens or more than [`MAX_DRAFTED`], for a
    /// model that was loaded for smaller batches, and for several sequences; [`Error::Device`] from the device.
    pub fn speculation(&self, draft: &'m Model<B>, most: usize) -> Result<Speculation<'m, B>> {
        self.alone()?;
        let m = self.model;
        let refuse = |what: String, hint: &str| Err(Error::usage(what, hint));
        if draft.config != m.config
            || draft.kv != m.kv
            || draft.options.context < self.cache.capacity()
        {
            return refuse(
                "a draft by a model of another shape".to_owned(),
                "draft with fewer stages of the same model, loaded for the same context",
            );
        }
        if most == 0 || most > MAX_DRAFTED {
            let hint = format!("draft from 1 to {MAX_DRAFTED}");
            return refuse(format!("drafts of {most} tokens"), &hint);
        }
        if m.options.batch <= most {
            return refuse(
                format!(
                    "drafts of {most} tokens by a model for batches of {}",
                    m.options.batch
                ),
                "load it for larger batches",
            );
        }
        let rows = tile_rows(&m.backend, most + 1, m.options.exact);
        Ok(Speculation {
            draft,
            most,
            logits: m.backend.alloc("logits of drafts", rows * m.config.vocab)?,
            best: m.backend.alloc("best ids", (most + 1) * MAX_TOP_K)?,
            best_logits: m.backend.alloc("best logits", (most + 1) * MAX_TOP_K)?,
        })
    }

    /// Appends `last` (the newest token) and what follows it: `steps` tokens are drafted, of which the session's model keeps
    /// those that it chooses itself, and then it adds one. Returns the ids, of which the last one is not appended: from 1 to
    /// `steps + 1` of them, those that [`Session::decode`] would choose with the same generators.
    ///
    /// # Errors
    /// As [`Session::decode`]; [`Error::Usage`] for more steps than there is room for in `with`.
    pub async fn speculate(
        &mut self,
        with: &Speculation<'m, B>,
        last: u32,
        steps: usize,
        mut choice: Choice<'_>,
    ) -> Result<Vec<u32>> {
        self.alone()?;
        self.known(&[last])?;
        self.room(0, steps + 1)?;
        self.provided(&choice, 1)?;
        if steps == 0 || steps > with.most {
            return Err(Error::usage(
                format!(
                    "{steps} drafted tokens where from 1 to {} may be",
                    with.most
                ),
                "draft fewer",
            ));
        }
        let m = self.model;
        m.backend.upload(&self.round, 0, &[last])?;
        self.bring_both(steps, &choice)?;
        self.bring_settings(&choice)?;
        self.model = with.draft;
        let drafted = self.draft(steps, &choice).await;
        self.model = m;
        drafted?;
        self.verify(with, steps, &choice).await?;
        let ids = m
            .backend
            .download(&self.round, 0, ROUND + steps + 1)
            .await?;
        let (drafts, chosen) = (&ids[1..=steps], &ids[ROUND..]);
        let right = drafts.iter().zip(chosen).take_while(|(a, b)| a == b);
        let accepted = right.count();
        self.grow(0, accepted + 1);
        if let Choice::Drawn(_, generators) = &mut choice {
            // numbers of tokens that were not kept are still to come
            for _ in 0..=accepted {
                generators[0].next_u32();
            }
        }
        numbers(chosen[..=accepted].to_vec())
    }

    /// Random numbers of the tokens to come: those that the draft draws with, and behind them the same for the model, one more.
    fn bring_both(&self, steps: usize, choice: &Choice<'_>) -> Result<()> {
        let Choice::Drawn(_, generators) = choice else {
            return Ok(());
        };
        let mut generator: SplitMix64 = generators[0].clone();
        let all: Vec<u32> = (0..=steps).map(|_| generator.next_u32()).collect();
        let backend = &self.model.backend;
        backend.upload(&self.random, 1, &all[..steps])?;
        backend.upload(&self.random, ROUND, &all)
    }

    /// Tokens at indices 1 to `steps` of the round, each chosen after the one before it.
    async fn draft(&self, steps: usize, choice: &Choice<'_>) -> Result<()> {
        let m = self.model;
        for step in 0..steps {
            m.embed(&self.round, step, 1).await?;
            let next = Tokens::Run {
                slot: 0,
                position: self.position() + step,
            };
            self.blocks(1, next, &mut NoTap).await?;
            m.head(&m.scratch.x, 1, &self.logits).await?;
            self.choose(1, step + 1, choice).await?;
        }
        Ok(())
    }

    /// What follows each of the tokens at indices 0 to `steps` of the round, from index [`ROUND`] on.
    async fn verify(
        &self,
        with: &Speculation<'m, B>,
        steps: usize,
        choice: &Choice<'_>,
    ) -> Result<()> {
        let (m, rows) = (self.model, steps + 1);
        m.embed(&self.round, 0, rows).await?;
        let position = self.position();
        self.blocks(rows, Tokens::Steps { position }, &mut NoTap)
            .await?;
        m.head(&m.scratch.x, rows, &with.logits).await?;
        let from = [&with.logits, &with.best, &with.best_logits];
        self.choose_from(rows, from, ROUND, choice).await
    }

    /// Compiles what drafts and their checks will need, as [`Session::prepare`] does for everything else.
    ///
    /// # Errors
    /// As [`Session::speculate`].
    pub async fn prepare_speculation(&mut self, with: &Speculation<'m, B>) -> Result<()> {
        let backend = &self.model.backend;
        if self.cache.capacity() <= with.most || !backend.collect_pipelines()? {
            return Ok(());
        }
        let position = self.position();
        let collected = self.collect_speculation(with).await;
        self.cache.set_length(0, position);
        backend.compile_pipelines()?;
        collected
    }

    async fn collect_speculation(&mut self, with: &Speculation<'m, B>) -> Result<()> {
        let sampling = Sampling::default();
        for position in [0, self.cache.capacity() - with.most - 1] {
            // Shorter drafts come once, at the end of a sequence.
            let mut generators = sampling.generators(1);
            for choice in [Choice::Greedy, Choice::Drawn(&[sampling], &mut generators)] {
                self.cache.set_length(0, position);
                self.speculate(with, 0, with.most, choice).await?;
            }
        }
        Ok(())
    }
}
