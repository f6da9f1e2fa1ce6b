//! What a model says of tokens that stand somewhere: their log-probabilities, and the most likely tokens beside them.

use super::{MAX_TOP_K, Session, Tokens};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::forward::Piece;
use crate::model::linear::tile_rows;
use crate::model::tap::NoTap;
use crate::ops::sampling::{Argmax, TokenNll, TopK};

/// Most rows of logits that are judged at once.
const ROWS: usize = 32;

/// Log-probabilities at one position: natural logarithms of the softmax of the logits as the model gives them.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprobs {
    /// That of the token that stands there.
    pub logprob: f32,
    /// The most likely tokens there, best first.
    pub top: Vec<(u32, f32)>,
}

/// Buffers for judging, made when they are needed first.
pub(super) struct Judge<B: Backend> {
    /// [ROWS]: the tokens that stand there.
    targets: B::Buffer,
    /// [ROWS]: the most likely ones.
    argmax: B::Buffer,
    /// [2, ROWS]: negative log-likelihoods of both.
    nll: B::Buffer,
    /// [ROWS, k] each.
    best: B::Buffer,
    best_logits: B::Buffer,
    /// [ROWS, hidden]: rows of a piece.
    x: B::Buffer,
    /// [ROWS, vocab], of whole tiles.
    logits: B::Buffer,
}

impl<B: Backend> Judge<B> {
    fn new(session: &Session<'_, B>) -> Result<Self> {
        let m = session.model;
        let rows = tile_rows(&m.backend, ROWS, m.options.exact);
        let alloc = |name: &str, words| m.backend.alloc(name, words);
        Ok(Self {
            targets: alloc("judged tokens", ROWS)?,
            argmax: alloc("most likely tokens", ROWS)?,
            nll: alloc("log-likelihoods", 2 * ROWS)?,
            best: alloc("best ids", ROWS * MAX_TOP_K)?,
            best_logits: alloc("best logits", ROWS * MAX_TOP_K)?,
            x: alloc("judged rows", rows * m.config.hidden)?,
            logits: alloc("judged logits", rows * m.config.vocab)?,
        })
    }
}

impl<B: Backend> Session<'_, B> {
    /// What the model says of `tokens`, one after each sequence whose logits are there, in their order; `top` most likely
    /// tokens come with each.
    ///
    /// # Errors
    /// [`Error::Usage`] for another number of tokens than there are logits; failures of the device.
    pub async fn logprobs(&mut self, tokens: &[u32], top: usize) -> Result<Vec<Logprobs>> {
        if tokens.len() != self.members.len() {
            return Err(Error::usage(
                format!(
                    "{} tokens for the logits of {} sequences",
                    tokens.len(),
                    self.members.len()
                ),
                "give one token for each sequence that the last step decoded",
            ));
        }
        self.known(tokens)?;
        let judge = self.take_judge()?;
        let mut all = Vec::with_capacity(tokens.len());
        let mut failed = None;
        for (i, tokens) in tokens.chunks(ROWS).enumerate() {
            match self.judge_step(&judge, i * ROWS, tokens, top).await {
                Ok(some) => all.extend(some),
                Err(error) => failed = Some(error),
            }
        }
        self.judge = Some(judge);
        failed.map_or(Ok(all), Err)
    }

    /// The buffers for judging, which the caller puts back.
    fn take_judge(&mut self) -> Result<Judge<B>> {
        self.judge.take().map_or_else(|| Judge::new(self), Ok)
    }

    /// [`Session::logprobs`] of some rows of the last step.
    async fn judge_step(
        &self,
        judge: &Judge<B>,
        first: usize,
        tokens: &[u32],
        top: usize,
    ) -> Result<Vec<Logprobs>> {
        if first == 0 && self.members.len() <= ROWS {
            return self.judge_rows(judge, &self.logits, tokens, top).await;
        }
        let m = self.model;
        let n = m.config.vocab;
        let rows = m
            .backend
            .download(&self.logits, first * n, tokens.len() * n);
        m.backend.upload(&judge.logits, 0, &rows.await?)?;
        self.judge_rows(judge, &judge.logits, tokens, top).await
    }

    /// Appends `tokens` to a sequence, and says of each of `targets` what the model says of it after the token at the same
    /// place.
    ///
    /// # Errors
    /// As [`Session::feed`]; [`Error::Usage`] for unequal numbers.
    pub async fn feed_judged(
        &mut self,
        sequence: usize,
        tokens: &[u32],
        targets: &[u32],
        top: usize,
    ) -> Result<Vec<Logprobs>> {
        self.check(sequence, tokens)?;
        self.known(targets)?;
        if tokens.len() != targets.len() {
            return Err(Error::usage(
                format!("{} tokens and {} targets", tokens.len(), targets.len()),
                "give every token its target",
            ));
        }
        let judge = self.take_judge()?;
        let all = self.feed_with(&judge, sequence, [tokens, targets], top);
        let all = all.await;
        self.judge = Some(judge);
        all
    }

    async fn feed_with(
        &mut self,
        judge: &Judge<B>,
        sequence: usize,
        [tokens, targets]: [&[u32]; 2],
        top: usize,
    ) -> Result<Vec<Logprobs>> {
        let m = self.model;
        let mut all = Vec::with_capacity(tokens.len());
        let batches = tokens.chunks(m.options.batch);
        for (tokens, targets) in batches.zip(targets.chunks(m.options.batch)) {
            m.backend.upload(&m.scratch.ids, 0, tokens)?;
            m.embed(&m.scratch.ids, 0, tokens.len()).await?;
            let piece = Piece {
                slot: sequence,
                position: self.length(sequence).unwrap_or(0),
                tokens: tokens.len(),
            };
            let mixed = Tokens::Mixed {
                decoding: 0,
                end: 0,
                pieces: &[piece],
            };
            self.blocks(tokens.len(), mixed, &mut NoTap).await?;
            self.grow(sequence, tokens.len());
            for (i, targets) in targets.chunks(ROWS).enumerate() {
                let first = (i * ROWS) as u32;
                let rows: Vec<_> = (first..first + targets.len() as u32).collect();
                m.take_rows(&rows, &judge.x).await?;
                m.head(&judge.x, rows.len(), &judge.logits).await?;
                let judged = self.judge_rows(judge, &judge.logits, targets, top);
                all.extend(judged.await?);
            }
        }
        Ok(all)
    }

    /// Judges rows of logits.
    async fn judge_rows(
        &self,
        judge: &Judge<B>,
        logits: &B::Buffer,
        targets: &[u32],
        top: usize,
    ) -> Result<Vec<Logprobs>> {
        let (m, rows) = (self.model, targets.len());
        let (backend, vocab) = (&m.backend, m.config.vocab);
        backend.scope(&|| "log-probabilities".to_owned());
        backend.upload(&judge.targets, 0, targets)?;
        let argmax = Argmax {
            rows,
            n: vocab,
            offset: 0,
        };
        backend.run(&argmax, &[logits, &judge.argmax]).await?;
        for (offset, tokens) in [(0, &judge.targets), (ROWS, &judge.argmax)] {
            let nll = TokenNll {
                rows,
                vocab,
                first: 0,
                offset,
            };
            backend.run(&nll, &[tokens, logits, &judge.nll]).await?;
        }
        let k = top.clamp(1, MAX_TOP_K.min(vocab));
        let (rows, n) = (rows, vocab);
        let buffers = [logits, &judge.best, &judge.best_logits];
        backend.run(&TopK { rows, n, k }, &buffers).await?;
        let nll = backend.download(&judge.nll, 0, ROWS + rows).await?;
        let best = backend.download(&judge.best, 0, rows * k).await?;
        let best_logits = backend.download(&judge.best_logits, 0, rows * k).await?;
        let float = |words: &[u32], i: usize| f32::from_bits(words[i]);
        let row = |i: usize| {
            let (own, first) = (-float(&nll, i), -float(&nll, ROWS + i));
            let best = best[i * k..][..k].iter().zip(&best_logits[i * k..][..k]);
            let greatest = float(&best_logits, i * k);
            let of = |(&id, &logit): (&u32, &u32)| match id == targets[i] {
                // Whoever compares the two must find them equal.
                true => (id, own),
                false => (id, first + (f32::from_bits(logit) - greatest)),
            };
            Logprobs {
                logprob: own,
                top: best.map(of).take(top).collect(),
            }
        };
        Ok((0..rows).map(row).collect())
    }
}
