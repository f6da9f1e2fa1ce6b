//! Sequences running through a model.

use super::Config;
use super::budget::{self, product, sum};
use super::choice::MAX_TOP_K;
use super::forward::Tokens;
use super::kv_cache::KvCache;
use super::linear::tile_rows;
use super::loaded::Model;
use super::options::{LoadOptions, kv};
use super::tap::{NoTap, Tap};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::ops::attention::AttentionSplit;
use crate::ops::sampling::DrawSettings;
use std::cell::RefCell;

mod adjust;
mod ahead;
mod blocks;
mod decode;
pub use decode::Choice;
pub(crate) use decode::numbers;
mod judge;
mod length;
pub use judge::Logprobs;
mod next;
mod prepare;
mod score;
mod speculate;
mod step;
pub use score::{IGNORED, Reference, Scored, Scorer, Segment};
pub use speculate::{MAX_DRAFTED, Speculation};
pub use step::Feed;

/// Words of a session of `n_seqs` sequences: of all caches, and of the rest.
pub(crate) fn words<B: Backend>(
    backend: &B,
    c: &Config,
    options: &LoadOptions,
    n_seqs: usize,
) -> [usize; 2] {
    let cache = KvCache::<B>::words(c, kv(backend, c, options), n_seqs, options);
    let rows = tile_rows(backend, n_seqs, options.exact);
    let rest = [
        AttentionSplit::most_words(n_seqs, c.head_dim, backend.facts().tuning.ranges),
        adjust::logit_words(rows, c.vocab),
        product(&[2, n_seqs, MAX_TOP_K]),
        product(&[2, n_seqs, 2 * decode::ROUND]),
        product(&[n_seqs, decode::ROUND, 2]),
        product(&[n_seqs, DrawSettings::WORDS]),
    ];
    [cache, sum(rest)]
}

impl<B: Backend> Model<B> {
    /// A new sequence.
    pub fn session(&self) -> Result<Session<'_, B>> {
        self.sessions(1)
    }

    /// `n_seqs` new sequences that go on together, each at its own length.
    ///
    /// # Errors
    /// [`Error::Usage`] for no sequences, or for more than [`LoadOptions::batch`](super::LoadOptions) ones;
    /// [`Error::Device`] where the device has no room for them.
    pub fn sessions(&self, n_seqs: usize) -> Result<Session<'_, B>> {
        self.sessions_of(n_seqs, self.options.context)
    }

    /// How many sequences can go on together: [`LoadOptions::batch`](super::LoadOptions) of them.
    pub fn most_sessions(&self) -> usize {
        self.options.batch
    }

    /// [`Model::sessions`] whose sequences have at most `context` tokens, no more than the model was loaded for: caches
    /// are no larger than that.
    ///
    /// # Errors
    /// As [`Model::sessions`].
    pub fn sessions_of(&self, n_seqs: usize, context: usize) -> Result<Session<'_, B>> {
        self.sessions_with(
            n_seqs,
            &LoadOptions {
                context: context.min(self.options.context),
                ..self.options
            },
        )
    }

    /// [`Model::sessions`] with caches as `options` say, for no more tokens than the model was loaded for.
    fn sessions_with(&self, n_seqs: usize, options: &LoadOptions) -> Result<Session<'_, B>> {
        let most = self.most_sessions();
        if n_seqs == 0 || n_seqs > most {
            return Err(Error::usage(
                format!("{n_seqs} sequences at once; between 1 and {most} are possible here"),
                "use fewer streams or a larger batch",
            ));
        }
        let (backend, c) = (&self.backend, &self.config);
        let part = self.pipeline.as_ref().map(|pipeline| pipeline.part(c));
        let held = part.as_ref().unwrap_or(c);
        let [cache, rest] = words(backend, held, options, n_seqs);
        let parts = [("KV cache", cache), ("the rest", rest)];
        let parts = parts.map(|(name, words)| (name, product(&[4, words])));
        budget::check(backend, "a session", &parts, budget::HINT)?;
        let own = (c, self.layers());
        let mut cache = KvCache::new(backend, own, self.kv, n_seqs, options)?;
        while cache.allocate().is_some() {}
        let ranges = backend.facts().tuning.ranges;
        let partials = AttentionSplit::most_words(n_seqs, c.head_dim, ranges);
        let rows = tile_rows(backend, n_seqs, self.options.exact);
        let logits = adjust::logit_words(rows, c.vocab);
        Ok(Session {
            model: self,
            members: (0..n_seqs).collect(),
            cache,
            partials: backend.alloc("attention ranges", partials)?,
            logits: backend.alloc("logits", logits)?,
            best: backend.alloc("best ids", n_seqs * MAX_TOP_K)?,
            best_logits: backend.alloc("best logits", n_seqs * MAX_TOP_K)?,
            random: backend.alloc("random numbers", n_seqs * 2 * decode::ROUND)?,
            round: backend.alloc("decoded ids", n_seqs * 2 * decode::ROUND)?,
            rows: backend.alloc("row table", n_seqs * decode::ROUND * 2)?,
            settings: backend.alloc("draw settings", n_seqs * DrawSettings::WORDS)?,
            uploaded: RefCell::default(),
            judge: None,
            adjust: None,
            ahead: None,
            changes: 0,
            prompt_end: 0,
        })
    }
}

/// Sequences that go on together, each at its own length: their KV cache and the logits after their last tokens.
///
/// Sequence `i` lives in slot `i` of the cache. All slots are taken at first; [`Session::end`] frees one, and
/// [`Session::begin`] takes a free one for a new sequence.
pub struct Session<'m, B: Backend> {
    model: &'m Model<B>,
    cache: KvCache<B>,
    /// The sequences whose logits are there, in the order of their rows.
    members: Vec<usize>,
    /// Attention over ranges of positions, before they are merged.
    partials: B::Buffer,
    /// [members, vocab], of whole tiles.
    logits: B::Buffer,
    /// [members, k]: the most likely tokens of each sequence, best first.
    best: B::Buffer,
    best_logits: B::Buffer,
    /// [2, ROUND, members]: what decides where tokens are drawn, in two rounds of decoding.
    random: B::Buffer,
    /// [2, ROUND, members]: the ids that two rounds of decoding chose.
    round: B::Buffer,
    /// [ROUND, members, 2]: the row table of the steps of a round.
    rows: B::Buffer,
    /// [members, 4]: how each sequence draws, or all of them.
    settings: B::Buffer,
    /// What is in `settings`.
    uploaded: RefCell<Vec<u32>>,
    judge: Option<judge::Judge<B>>,
    adjust: Option<adjust::Adjust<B>>,
    /// A round that was begun before anybody asked for it.
    ahead: Option<ahead::Ahead<'m>>,
    /// How often the tokens of any sequence changed.
    changes: u64,
    /// How many tokens the sequence will have when the prompt is read that it is reading; 0 where it reads none.
    prompt_end: usize,
}

impl<'m, B: Backend> Session<'m, B> {
    /// The backend that the model lives on.
    pub fn backend(&self) -> &'m B {
        &self.model.backend
    }

    /// Tokens seen so far by the first sequence; [`Session::length`] says it of the others.
    pub fn position(&self) -> usize {
        self.length(0).unwrap_or(0)
    }

    /// Tokens seen so far by a sequence; `None` where there is no such sequence, or where it has ended.
    pub fn length(&self, sequence: usize) -> Option<usize> {
        self.cache.length(sequence)
    }

    /// Whether sums are exact for any number of tokens.
    pub fn is_exact(&self) -> bool {
        self.model.options.exact
    }

    /// Most tokens of a sequence.
    pub fn capacity(&self) -> usize {
        self.cache.capacity()
    }

    /// Forgets everything after `position`, of every sequence. One whose layers with a window no longer have what `position`
    /// sees forgets all of its tokens, as [`Session::length`] says then: see [`LoadOptions::swa_full`].
    pub fn rewind(&mut self, position: usize) {
        self.changes += 1;
        for sequence in 0..self.cache.slots() {
            self.cache.shorten(sequence, position);
        }
    }

    /// A new sequence, in the place of one that has ended; `None` where all go on.
    pub fn begin(&mut self) -> Option<usize> {
        self.changes += 1;
        self.cache.allocate()
    }

    /// Ends a sequence: it takes no more tokens, and a new one may begin in its place.
    pub fn end(&mut self, sequence: usize) {
        self.forget_adjustments(sequence);
        self.cache.free(sequence);
    }

    /// Whether `new` positions are left to a sequence, which is one of the session's and goes on.
    fn room(&self, sequence: usize, new: usize) -> Result<()> {
        let context = self.cache.capacity();
        let Some(prompt) = self.length(sequence) else {
            return Err(Error::usage(
                format!("there is no sequence {sequence}"),
                "give one that has begun and not ended",
            ));
        };
        if new > context - prompt {
            return Err(Error::Context {
                prompt,
                new,
                context,
            });
        }
        Ok(())
    }

    /// Whether the vocabulary has them.
    fn known(&self, tokens: &[u32]) -> Result<()> {
        let vocab = self.model.config.vocab as u32;
        if let Some(id) = tokens.iter().find(|&&t| t >= vocab) {
            return Err(Error::usage(
                format!("token id {id} is beyond the vocabulary of {vocab}"),
                "use the tokenizer that belongs to the model",
            ));
        }
        Ok(())
    }

    fn check(&self, sequence: usize, tokens: &[u32]) -> Result<()> {
        self.room(sequence, tokens.len())?;
        self.known(tokens)?;
        if tokens.is_empty() {
            return Err(Error::usage(
                "no tokens to process",
                "give a prompt of at least one token",
            ));
        }
        Ok(())
    }

    /// Whether there is one sequence: what follows gives the result of one.
    fn alone(&self) -> Result<()> {
        if self.cache.slots() == 1 {
            return Ok(());
        }
        Err(Error::usage(
            format!("this would process one sequence of {}", self.cache.slots()),
            "give every sequence its tokens, with Session::feed_each and Session::decode",
        ))
    }

    /// Says that a sequence has `tokens` more.
    fn grow(&mut self, sequence: usize, tokens: usize) {
        self.changes += 1;
        let length = self.length(sequence).unwrap_or(0);
        self.cache.set_length(sequence, length + tokens);
    }

    /// Appends `tokens` (at least one); the logits of the last one stay on the device.
    ///
    /// # Errors
    /// [`Error::Context`] when they do not fit, [`Error::Usage`] for ids beyond the vocabulary, for no tokens, and where
    /// the session has several sequences.
    pub async fn feed(&mut self, tokens: &[u32]) -> Result<()> {
        self.alone()?;
        self.check(0, tokens)?;
        let rows = self.extend(tokens, 0).await?;
        let (m, s) = (self.model, &self.model.scratch);
        if rows == 1 {
            return m.head(&s.x, 1, &self.logits).await;
        }
        m.take_row(rows - 1).await?;
        m.head(&s.last, 1, &self.logits).await
    }

    /// Appends `tokens` and returns the logits of all of them, `[tokens, vocab]`.
    ///
    /// # Errors
    /// As [`Session::feed`].
    pub async fn feed_all(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.alone()?;
        self.check(0, tokens)?;
        let m = self.model;
        let rows = m.options.batch.min(tokens.len()).min(64);
        let padded = tile_rows(&m.backend, rows, m.options.exact);
        let mut all = Vec::new();
        let values = product(&[tokens.len(), m.config.vocab]);
        all.try_reserve_exact(values).map_err(|_| {
            Error::device(
                format!("the logits of all tokens are {values} numbers, more than fit"),
                "process fewer tokens at a time",
            )
        })?;
        let logits = m.backend.alloc("all logits", padded * m.config.vocab)?;
        self.reads(0, tokens.len());
        for batch in tokens.chunks(rows) {
            self.advance(batch, 0, true, &mut NoTap).await?;
            self.grow(0, batch.len());
            m.head(&m.scratch.x, batch.len(), &logits).await?;
            let len = batch.len() * m.config.vocab;
            let words = m.backend.download(&logits, 0, len).await?;
            all.extend(words.into_iter().map(f32::from_bits));
        }
        self.prompt_end = 0;
        Ok(all)
    }

    /// Appends `tokens` and shows `tap` what enters every stack of linear layers, the head included, in batches as they
    /// are processed. Logits are not computed.
    ///
    /// # Errors
    /// As [`Session::feed`], and what `tap` fails with.
    pub async fn feed_tapped(&mut self, tokens: &[u32], tap: &mut impl Tap<B>) -> Result<()> {
        self.alone()?;
        self.check(0, tokens)?;
        let m = self.model;
        self.reads(0, tokens.len());
        for batch in tokens.chunks(m.options.batch) {
            self.advance(batch, 0, true, tap).await?;
            self.grow(0, batch.len());
            m.tap_head(&m.scratch.x, batch.len(), tap).await?;
        }
        self.prompt_end = 0;
        Ok(())
    }
}
