//! Speculative decoding: somebody drafts tokens, and the model itself checks all of them in one pass.
//!
//! The sequences are those of decoding token by token: a draft only decides how many tokens a pass gives. Drafts come from the
//! caller, or from a cheaper reading of the model. Both readings use one cache: the cheaper one leaves its keys and values where
//! the pass that checks it puts the model's own, so that it sees the whole past as the model has it.

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

/// Room for what the session's own model says of drafts, and the model that drafts, if one does.
pub struct Speculation<'m, B: Backend> {
    draft: Option<&'m Model<B>>,
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
        if draft.config != m.config
            || draft.kv != m.kv
            || draft.options.context < self.cache.capacity()
        {
            return Err(Error::usage(
                "a draft by a model of another shape",
                "draft with fewer stages of the same model, loaded for the same context",
            ));
        }
        let room = self.draft_room(most)?;
        Ok(Speculation {
            draft: Some(draft),
            ..room
        })
    }

    /// Room for [`Session::check_drafts`] of at most `most` tokens.
    ///
    /// # Errors
    /// As [`Session::speculation`].
    pub fn draft_room(&self, most: usize) -> Result<Speculation<'m, B>> {
        let m = self.model;
        let refuse = |what: String, hint: &str| Err(Error::usage(what, hint));
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
            draft: None,
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
        let Some(draft) = with.draft else {
            return Err(Error::usage(
                "drafts without a model that drafts",
                "make room with Session::speculation",
            ));
        };
        let m = self.model;
        m.backend.upload(&self.round, 0, &[last])?;
        self.bring_both(steps, &choice)?;
        self.bring_settings(&choice)?;
        self.model = draft;
        let drafted = self.draft(steps, &choice).await;
        self.model = m;
        drafted?;
        self.verify(with, 0, steps, &choice).await?;
        numbers(self.accept(0, steps, &mut choice).await?)
    }

    /// Appends `last` (the newest token of a sequence) and what follows it: `drafts` are tokens that may follow, of which the
    /// model keeps those that it chooses itself, and then it adds one. Returns the ids as [`Session::speculate`] does, with
    /// [`u32::MAX`] where nothing could be chosen.
    ///
    /// # Errors
    /// As [`Session::decode_some`]; [`Error::Usage`] for more drafts than there is room for in `with`, or none.
    pub async fn check_drafts(
        &mut self,
        with: &Speculation<'m, B>,
        (sequence, last): (usize, u32),
        drafts: &[u32],
        mut choice: Choice<'_>,
    ) -> Result<Vec<u32>> {
        let steps = drafts.len();
        let ids = [&[last], drafts].concat();
        self.known(&ids)?;
        self.room(sequence, steps + 1)?;
        self.provided(&choice, 1)?;
        if steps == 0 || steps > with.most {
            return Err(Error::usage(
                format!("{steps} drafts where from 1 to {} may be", with.most),
                "draft fewer",
            ));
        }
        self.members = vec![sequence];
        self.model.backend.upload(&self.round, 0, &ids)?;
        self.bring_both(steps, &choice)?;
        self.bring_settings(&choice)?;
        self.verify(with, sequence, steps, &choice).await?;
        self.accept(sequence, steps, &mut choice).await
    }

    /// Reads the drafts of a round and what the model chose, and keeps what is right.
    async fn accept(
        &mut self,
        sequence: usize,
        steps: usize,
        choice: &mut Choice<'_>,
    ) -> Result<Vec<u32>> {
        let ids = self
            .model
            .backend
            .download(&self.round, 0, ROUND + steps + 1)
            .await?;
        let (drafts, chosen) = (&ids[1..=steps], &ids[ROUND..]);
        let right = drafts.iter().zip(chosen).take_while(|(a, b)| a == b);
        let accepted = right.count();
        self.grow(sequence, accepted + 1);
        if let Choice::Drawn(_, generators) = choice {
            // numbers of tokens that were not kept are still to come
            for _ in 0..=accepted {
                generators[0].next_u32();
            }
        }
        Ok(chosen[..=accepted].to_vec())
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
        slot: usize,
        steps: usize,
        choice: &Choice<'_>,
    ) -> Result<()> {
        let (m, rows) = (self.model, steps + 1);
        m.embed(&self.round, 0, rows).await?;
        let position = self.length(slot).unwrap_or(0);
        self.blocks(rows, Tokens::Steps { slot, position }, &mut NoTap)
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
        let before = self.cache.lengths();
        let collected = self.collect_speculation(with).await;
        self.cache.restore(before);
        backend.compile_pipelines().await?;
        collected
    }

    /// Compiles what [`Session::check_drafts`] will need, of every number of drafts. The sequences stay as they are.
    ///
    /// # Errors
    /// Failures of the device.
    pub async fn prepare_drafts(&mut self, with: &Speculation<'m, B>) -> Result<()> {
        let backend = &self.model.backend;
        if self.cache.capacity() <= with.most || !backend.collect_pipelines()? {
            return Ok(());
        }
        let before = self.cache.lengths();
        self.cache.allocate_slot(0, 0);
        let collected = self.collect_drafts(with).await;
        self.cache.restore(before);
        backend.compile_pipelines().await?;
        collected
    }

    async fn collect_drafts(&mut self, with: &Speculation<'m, B>) -> Result<()> {
        let sampling = Sampling::default();
        for position in [0, self.cache.capacity() - with.most - 1] {
            for most in 1..=with.most {
                let (drafts, mut generators) = (vec![0; most], sampling.generators(1));
                for choice in [Choice::Greedy, Choice::Drawn(&[sampling], &mut generators)] {
                    self.cache.set_length(0, position);
                    self.check_drafts(with, (0, 0), &drafts, choice).await?;
                }
            }
        }
        Ok(())
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
