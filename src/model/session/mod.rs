//! One text running through a model.

use super::Config;
use super::forward::{self, Cache, LoadOptions, Model, Text};
use super::linear::tile_rows;
use super::memory::{self, product, sum};
use super::tap::{NoTap, Tap};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::ops::attention::AttentionSplit;
use crate::ops::sampling::{Argmax, TopK};

mod decode;
pub use decode::Choice;
mod prepare;
mod score;
mod speculate;
pub use score::{IGNORED, Reference, Scored, Scorer, Segment};
pub use speculate::{MAX_DRAFTED, Speculation};

/// Largest k of [`Session::top_k`].
pub const MAX_TOP_K: usize = 256;

/// Words of a session of `texts` texts: of all caches, and of the rest.
pub(crate) fn words<B: Backend>(
    backend: &B,
    c: &Config,
    options: &LoadOptions,
    texts: usize,
) -> [usize; 2] {
    let cache = product(&[2, c.layers, cache_words(backend, c, options, texts)]);
    let rows = tile_rows(backend, texts, options.exact);
    let rest = [
        AttentionSplit::most_words(texts, c.head_dim, backend.facts().tuning.ranges),
        product(&[rows, c.vocab]),
        product(&[2, texts, MAX_TOP_K]),
        product(&[2, texts, 2 * decode::ROUND]),
    ];
    [cache, sum(rest)]
}

/// Words of the keys, or of the values, of one layer.
pub(crate) fn cache_words<B: Backend>(
    backend: &B,
    c: &Config,
    options: &LoadOptions,
    texts: usize,
) -> usize {
    let values = product(&[options.context, c.kv_heads, c.head_dim]);
    product(&[texts, forward::kv(backend, c, options).words(values)])
}

impl<B: Backend> Model<B> {
    /// A new text.
    pub fn session(&self) -> Result<Session<'_, B>> {
        self.sessions(1)
    }

    /// `texts` new texts that go on together, always of the same length.
    ///
    /// # Errors
    /// [`Error::Usage`] for no texts, for more than [`LoadOptions::batch`](super::LoadOptions) ones, or for several on a
    /// device that cannot decode them together; [`Error::Device`] where the device has no room for them.
    pub fn sessions(&self, texts: usize) -> Result<Session<'_, B>> {
        self.sessions_of(texts, self.options.context)
    }

    /// How many texts can go on together: [`LoadOptions::batch`](super::LoadOptions) of them, or one on a device that
    /// cannot decode several.
    pub fn most_sessions(&self) -> usize {
        if self.steps() { self.options.batch } else { 1 }
    }

    /// [`Model::sessions`] whose texts have at most `context` tokens, no more than the model was loaded for: caches
    /// are no larger than that.
    ///
    /// # Errors
    /// As [`Model::sessions`].
    pub fn sessions_of(&self, texts: usize, context: usize) -> Result<Session<'_, B>> {
        let context = context.min(self.options.context);
        let most = self.most_sessions();
        if texts == 0 || texts > most {
            return Err(Error::usage(
                format!("{texts} texts at once; between 1 and {most} are possible here"),
                "use fewer streams, a larger batch, or a device with subgroups",
            ));
        }
        let options = &LoadOptions {
            context,
            ..self.options
        };
        let (backend, c) = (&self.backend, &self.config);
        let [cache, rest] = words(backend, c, options, texts);
        let parts = [("KV cache", cache), ("the rest", rest)];
        let parts = parts.map(|(name, words)| (name, product(&[4, words])));
        memory::check(backend, "a session", &parts, memory::HINT)?;
        let words = cache_words(backend, c, options, texts);
        let caches = (0..self.config.layers)
            .map(|_| {
                let k = self.backend.alloc("K cache", words)?;
                Ok((k, self.backend.alloc("V cache", words)?))
            })
            .collect::<Result<_>>()?;
        let rows = tile_rows(&self.backend, texts, self.options.exact);
        Ok(Session {
            model: self,
            position: 0,
            context,
            texts,
            caches,
            ranges: self.backend.alloc(
                "attention ranges",
                AttentionSplit::most_words(
                    texts,
                    self.config.head_dim,
                    self.backend.facts().tuning.ranges,
                ),
            )?,
            logits: self.backend.alloc("logits", rows * self.config.vocab)?,
            best: self.backend.alloc("best ids", texts * MAX_TOP_K)?,
            best_logits: self.backend.alloc("best logits", texts * MAX_TOP_K)?,
            random: self
                .backend
                .alloc("random numbers", texts * 2 * decode::ROUND)?,
            round: self
                .backend
                .alloc("decoded ids", texts * 2 * decode::ROUND)?,
        })
    }
}

/// One text, or several of the same length: the KV cache and the logits after the last token.
pub struct Session<'m, B: Backend> {
    model: &'m Model<B>,
    position: usize,
    /// Most tokens of each text.
    context: usize,
    texts: usize,
    caches: Vec<(B::Buffer, B::Buffer)>,
    /// Attention over ranges of positions, before they are merged.
    ranges: B::Buffer,
    /// [texts, vocab], of whole tiles.
    logits: B::Buffer,
    /// [texts, k]: the most likely tokens of each text, best first.
    best: B::Buffer,
    best_logits: B::Buffer,
    /// [2, ROUND, texts]: what decides where tokens are drawn, in two rounds of decoding.
    random: B::Buffer,
    /// [2, ROUND, texts]: the ids that two rounds of decoding chose.
    round: B::Buffer,
}

impl<'m, B: Backend> Session<'m, B> {
    /// The backend that the model lives on.
    pub fn backend(&self) -> &'m B {
        &self.model.backend
    }
}

impl<B: Backend> Session<'_, B> {
    /// Tokens seen so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Forgets everything after `position`.
    pub fn rewind(&mut self, position: usize) {
        self.position = self.position.min(position);
    }

    /// Whether `new` positions are left.
    fn room(&self, new: usize) -> Result<()> {
        let (prompt, context) = (self.position, self.context);
        if new > context.saturating_sub(prompt) {
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

    fn check(&self, tokens: &[u32]) -> Result<()> {
        self.room(tokens.len())?;
        self.known(tokens)?;
        if tokens.is_empty() {
            return Err(Error::usage(
                "no tokens to process",
                "give a prompt of at least one token",
            ));
        }
        Ok(())
    }

    /// Whether it is one text: what follows moves the position of all of them, or gives the result of one.
    fn alone(&self) -> Result<()> {
        if self.texts == 1 {
            return Ok(());
        }
        Err(Error::usage(
            format!("this would process one text of {}", self.texts),
            "give every text its tokens, with Session::feed_each and Session::decode",
        ))
    }

    /// Runs one batch of tokens of text `text` through all blocks; the position stays.
    async fn advance(&mut self, tokens: &[u32], text: usize, tap: &mut impl Tap<B>) -> Result<()> {
        let m = self.model;
        m.backend.upload(&m.scratch.ids, 0, tokens)?;
        m.embed(&m.scratch.ids, 0, tokens.len()).await?;
        self.blocks(self.position, tokens.len(), Text::One(text), tap)
            .await
    }

    /// Appends `tokens` to text `text` in batches; returns how many tokens the last one had.
    async fn extend(&mut self, tokens: &[u32], text: usize) -> Result<usize> {
        let mut rows = 0;
        for batch in tokens.chunks(self.model.options.batch) {
            self.advance(batch, text, &mut NoTap).await?;
            self.position += batch.len();
            rows = batch.len();
        }
        Ok(rows)
    }

    async fn blocks(
        &self,
        position: usize,
        rows: usize,
        text: Text<'_>,
        tap: &mut impl Tap<B>,
    ) -> Result<()> {
        let m = self.model;
        for (l, (k, v)) in self.caches.iter().enumerate() {
            m.backend.scope(&|| format!("layer {l}"));
            let cache = Cache {
                k,
                v,
                ranges: &self.ranges,
                context: self.context,
            };
            m.block(l, cache, rows, position, text, tap).await?;
        }
        Ok(())
    }

    /// Appends `tokens` (at least one); the logits of the last one stay on the device.
    ///
    /// # Errors
    /// [`Error::Context`] when they do not fit, [`Error::Usage`] for ids beyond the vocabulary, for no tokens, and where
    /// the session has several texts.
    pub async fn feed(&mut self, tokens: &[u32]) -> Result<()> {
        self.alone()?;
        self.check(tokens)?;
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
        self.check(tokens)?;
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
        for batch in tokens.chunks(rows) {
            self.advance(batch, 0, &mut NoTap).await?;
            self.position += batch.len();
            m.head(&m.scratch.x, batch.len(), &logits).await?;
            let len = batch.len() * m.config.vocab;
            let words = m.backend.download(&logits, 0, len).await?;
            all.extend(words.into_iter().map(f32::from_bits));
        }
        Ok(all)
    }

    /// Appends `tokens` and shows `tap` what enters every stack of linear layers, the head included, in batches as they
    /// are processed. Logits are not computed.
    ///
    /// # Errors
    /// As [`Session::feed`], and what `tap` fails with.
    pub async fn feed_tapped(&mut self, tokens: &[u32], tap: &mut impl Tap<B>) -> Result<()> {
        self.alone()?;
        self.check(tokens)?;
        let m = self.model;
        for batch in tokens.chunks(m.options.batch) {
            self.advance(batch, 0, tap).await?;
            self.position += batch.len();
            m.tap_head(&m.scratch.x, batch.len(), tap).await?;
        }
        Ok(())
    }

    /// Logits after the last token, `[vocab]`; those of the first text where there are several.
    pub async fn logits(&self) -> Result<Vec<f32>> {
        self.logits_of(0).await
    }

    /// Logits after the last token of text `text`, `[vocab]`.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no such text.
    pub async fn logits_of(&self, text: usize) -> Result<Vec<f32>> {
        if text >= self.texts {
            return Err(Error::usage(
                format!("there is no text {text}"),
                format!("give an index below {}", self.texts),
            ));
        }
        let (m, n) = (self.model, self.model.config.vocab);
        let words = m.backend.download(&self.logits, text * n, n).await?;
        Ok(words.into_iter().map(f32::from_bits).collect())
    }

    /// The most likely next token (lowest id among equals), chosen on the device.
    ///
    /// # Errors
    /// Failures of the device; [`Error::Usage`] where the session has several texts.
    pub async fn argmax(&self) -> Result<u32> {
        self.alone()?;
        let m = self.model;
        m.backend.scope(&|| "greedy choice".to_owned());
        let argmax = Argmax {
            rows: 1,
            n: m.config.vocab,
            to: 0,
        };
        m.backend.run(&argmax, &[&self.logits, &self.best]).await?;
        Ok(m.backend.download(&self.best, 0, 1).await?[0])
    }

    /// The `k` most likely next tokens with their logits, best first, chosen on the device; k at most
    /// [`MAX_TOP_K`] and the vocabulary.
    ///
    /// # Errors
    /// Failures of the device; [`Error::Usage`] where the session has several texts.
    pub async fn top_k(&self, k: usize) -> Result<Vec<(u32, f32)>> {
        self.alone()?;
        let m = self.model;
        let n = m.config.vocab;
        let k = k.clamp(1, MAX_TOP_K.min(n));
        m.backend.scope(&|| "top-k choice".to_owned());
        let buffers = [&self.logits, &self.best, &self.best_logits];
        m.backend.run(&TopK { rows: 1, n, k }, &buffers).await?;
        let ids = m.backend.download(&self.best, 0, k).await?;
        let logits = m.backend.download(&self.best_logits, 0, k).await?;
        Ok(ids
            .into_iter()
            .zip(logits.into_iter().map(f32::from_bits))
            .collect())
    }
}
