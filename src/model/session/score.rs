//! How well a model predicts tokens that are known: log-likelihoods, most likely tokens, distance from another model.

use super::{Session, Tokens};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::forward::Span;
use crate::model::linear::tile_rows;
use crate::model::tap::NoTap;
use crate::model::{LoadOptions, Model};
use crate::ops::sampling::Argmax;
use crate::ops::sampling::TokenNll;
use crate::ops::train::TokenDistill;

pub use crate::ops::sampling::IGNORED;

/// Most words of logits that lie on the device at once: 128 MiB, which every binding holds.
const LOGIT_WORDS: usize = 1 << 25;

/// Consecutive tokens of a sequence, and what should follow each of them.
///
/// Segments share one cache: a segment that begins at a position above 0 continues whatever the segments before it left
/// below that position. A prefix that several continuations share is therefore given once, and they follow it.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// Position of the first token.
    pub position: usize,
    /// Ids.
    pub tokens: &'a [u32],
    /// For each token the id whose likelihood after it is asked for, or [`IGNORED`].
    pub targets: &'a [u32],
}

impl Segment<'_> {
    /// How many targets are asked for.
    pub fn counted(&self) -> usize {
        self.targets.iter().filter(|&&t| t != IGNORED).count()
    }
}

/// What a model says of one target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// The target.
    pub target: u32,
    /// Its negative log-likelihood, in nats.
    pub nll: f32,
    /// The most likely token.
    pub best: u32,
    /// What the reference says, if there is one.
    pub reference: Option<Reference>,
}

/// What a reference model says of the same target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reference {
    /// Negative log-likelihood of the target, in nats.
    pub nll: f32,
    /// The most likely token.
    pub best: u32,
    /// Kullback-Leibler divergence of the model's distribution from the reference's, `sum q ln(q / p)` with q the
    /// reference, in nats.
    pub divergence: f32,
}

/// One model with room for what it is asked.
struct Side<'m, B: Backend> {
    session: Session<'m, B>,
    /// [chunk, hidden]: rows of the residual stream whose logits are asked for.
    picked: B::Buffer,
    /// [chunk, vocab].
    logits: B::Buffer,
    /// [batch] each.
    nll: B::Buffer,
    best: B::Buffer,
}

/// Scores known tokens with a model, and with a reference model beside it if there is one.
///
/// Many short segments go through the weights together, as many tokens as the model's
/// [`batch`](crate::model::LoadOptions) in one pass.
pub struct Scorer<'m, B: Backend> {
    side: Side<'m, B>,
    reference: Option<Side<'m, B>>,
    /// [batch]: divergences.
    divergence: B::Buffer,
    /// [batch].
    targets: B::Buffer,
    batch: usize,
    /// Rows whose logits are made at once.
    chunk: usize,
    /// Positions that the cache has.
    filled: usize,
}

/// Tokens that go through the weights together.
#[derive(Default)]
struct Pass {
    tokens: Vec<u32>,
    spans: Vec<Span>,
    /// Rows whose logits are asked for, and the targets there.
    rows: Vec<u32>,
    targets: Vec<u32>,
}

impl<'m, B: Backend> Side<'m, B> {
    fn new(model: &'m Model<B>, context: usize, batch: usize, chunk: usize) -> Result<Self> {
        let backend = &model.backend;
        let rows = tile_rows(backend, chunk, model.options.exact);
        // A segment may go on behind any position of the one before.
        let options = LoadOptions {
            context: context.min(model.options.context),
            swa_full: true,
            ..model.options
        };
        Ok(Self {
            session: model.sessions_with(1, &options)?,
            picked: backend.alloc("picked rows", rows * model.config.hidden)?,
            logits: backend.alloc("logits to score", rows * model.config.vocab)?,
            nll: backend.alloc("log-likelihoods", batch)?,
            best: backend.alloc("most likely tokens", batch)?,
        })
    }

    /// Runs the tokens of a pass through all blocks.
    async fn blocks(&self, pass: &Pass) -> Result<()> {
        let m = self.session.model;
        m.backend.upload(&m.scratch.ids, 0, &pass.tokens)?;
        m.embed(&m.scratch.ids, 0, pass.tokens.len()).await?;
        let spans = Tokens::Spans(&pass.spans);
        let rows = pass.tokens.len();
        self.session.blocks(rows, spans, &mut NoTap).await
    }

    /// Logits of some rows, and what is asked of them; `first` is the index of their first target.
    async fn judge(&self, rows: &[u32], first: usize, targets: &B::Buffer) -> Result<()> {
        let m = self.session.model;
        m.take_rows(rows, &self.picked).await?;
        m.head(&self.picked, rows.len(), &self.logits).await?;
        m.backend.scope(&|| "scores".to_owned());
        let (rows, vocab, offset) = (rows.len(), m.config.vocab, first);
        let nll = TokenNll {
            rows,
            vocab,
            first,
            offset,
        };
        let buffers = [targets, &self.logits, &self.nll];
        m.backend.run(&nll, &buffers).await?;
        let n = vocab;
        let argmax = Argmax { rows, n, offset };
        m.backend.run(&argmax, &[&self.logits, &self.best]).await
    }

    fn read(&self, count: usize) -> impl Future<Output = Result<(Vec<u32>, Vec<u32>)>> {
        let backend = &self.session.model.backend;
        let nll = backend.download(&self.nll, 0, count);
        let best = backend.download(&self.best, 0, count);
        async { Ok((nll.await?, best.await?)) }
    }
}

impl<'m, B: Backend> Scorer<'m, B> {
    /// A scorer for sequences of at most `context` tokens. `reference` lives on the same device as `model` and has the
    /// same vocabulary.
    ///
    /// # Errors
    /// [`Error::Usage`] for a reference of another vocabulary; [`Error::Device`] where the device has no room.
    pub fn new(
        model: &'m Model<B>,
        reference: Option<&'m Model<B>>,
        context: usize,
    ) -> Result<Self> {
        let vocab = model.config.vocab;
        let mut batch = model.options.batch;
        if let Some(reference) = reference {
            batch = batch.min(reference.options.batch);
            if reference.config.vocab != vocab {
                let theirs = reference.config.vocab;
                return Err(Error::usage(
                    format!(
                        "the reference has {theirs} tokens in its vocabulary, the model {vocab}"
                    ),
                    "compare models with the same tokenizer",
                ));
            }
        }
        let backend = &model.backend;
        let most = (LOGIT_WORDS.min(backend.facts().max_words) / vocab).max(1);
        let whole = if most >= 256 { most / 128 * 128 } else { most };
        let chunk = whole.min(batch);
        let side = |model| Side::new(model, context, batch, chunk);
        Ok(Self {
            side: side(model)?,
            reference: reference.map(side).transpose()?,
            divergence: backend.alloc("divergences", batch)?,
            targets: backend.alloc("targets", batch)?,
            batch,
            chunk,
            filled: 0,
        })
    }

    /// Compiles what such segments need, in parallel, before the first of them. Nothing else changes.
    ///
    /// # Errors
    /// As [`Scorer::score`].
    pub async fn prepare(&mut self, segments: &[Segment<'_>]) -> Result<()> {
        let backend = &self.side.session.model.backend;
        if !backend.collect_pipelines()? {
            return Ok(());
        }
        let collected = self.score(segments).await;
        backend.compile_pipelines().await?;
        self.filled = 0;
        collected.map(|_| ())
    }

    /// Scores all targets of the segments that are not [`IGNORED`], in their order.
    ///
    /// # Errors
    /// [`Error::Context`] for segments beyond the context, [`Error::Usage`] for ids beyond the vocabulary, for tokens
    /// and targets of unequal number, and for a segment that continues what no segment before it left there; failures
    /// of the device.
    pub async fn score(&mut self, segments: &[Segment<'_>]) -> Result<Vec<Scored>> {
        segments.iter().try_for_each(|s| self.check(s))?;
        let mut all = Vec::new();
        let mut before = None;
        for pass in passes(segments, self.batch) {
            self.record(&pass).await?;
            let count = pass.rows.len();
            if count == 0 {
                continue; // a prefix
            }
            let own = self.side.read(count);
            let other = self.reference.as_ref().map(|side| side.read(count));
            let backend = &self.side.session.model.backend;
            let divergence = backend.download(&self.divergence, 0, count);
            let results = async move {
                let other = match other {
                    Some(other) => Some((other.await?, divergence.await?)),
                    None => None,
                };
                Ok::<_, Error>(scores(pass.targets, own.await?, other))
            };
            // the device goes on with a pass while the scores of the one before are on their way
            if let Some(results) = before.replace(results) {
                all.extend(results.await?);
            }
        }
        if let Some(results) = before {
            all.extend(results.await?);
        }
        Ok(all)
    }

    fn check(&mut self, segment: &Segment<'_>) -> Result<()> {
        let Segment {
            position,
            tokens,
            targets,
        } = *segment;
        let vocab = self.side.session.model.config.vocab as u32;
        if tokens.len() != targets.len() || tokens.is_empty() || position > self.filled {
            return Err(Error::usage(
                format!(
                    "a segment of {} tokens and {} targets at position {position} of {}",
                    tokens.len(),
                    targets.len(),
                    self.filled
                ),
                "give every token a target, and what a segment continues before it",
            ));
        }
        if let Some(id) = targets.iter().find(|&&t| t >= vocab && t != IGNORED) {
            return Err(Error::usage(
                format!("token id {id} is beyond the vocabulary of {vocab}"),
                "use the tokenizer that belongs to the model",
            ));
        }
        self.filled = position + tokens.len();
        let sides = [Some(&mut self.side), self.reference.as_mut()];
        for side in sides.into_iter().flatten() {
            side.session.cache.set_length(0, position);
            side.session.check(0, tokens)?;
        }
        Ok(())
    }

    /// Asks for everything of a pass.
    async fn record(&self, pass: &Pass) -> Result<()> {
        let backend = &self.side.session.model.backend;
        backend.upload(&self.targets, 0, &pass.targets)?;
        self.side.blocks(pass).await?;
        if let Some(reference) = &self.reference {
            reference.blocks(pass).await?;
        }
        let mut first = 0;
        for rows in pass.rows.chunks(self.chunk) {
            self.side.judge(rows, first, &self.targets).await?;
            if let Some(reference) = &self.reference {
                reference.judge(rows, first, &self.targets).await?;
                self.compare(reference, rows.len(), first).await?;
            }
            first += rows.len();
        }
        backend.flush()
    }

    /// The divergence of the logits that both sides have, of which the model's are overwritten.
    async fn compare(&self, reference: &Side<'_, B>, rows: usize, first: usize) -> Result<()> {
        let m = self.side.session.model;
        let distill = TokenDistill {
            tokens: rows,
            vocab: m.config.vocab,
            offset: first,
            factor: 0.0,
            share: 1.0,
        };
        let (teacher, logits) = (&reference.logits, &self.side.logits);
        let buffers = [&self.targets, teacher, logits, &self.divergence];
        m.backend.run(&distill, &buffers).await
    }
}

/// The segments in passes of at most `batch` tokens; segments are cut where a pass is full.
fn passes<'a>(segments: &'a [Segment<'a>], batch: usize) -> impl Iterator<Item = Pass> + 'a {
    let mut rest = segments.iter().flat_map(move |s| {
        (0..s.tokens.len()).step_by(batch).map(move |from| {
            let to = s.tokens.len().min(from + batch);
            Segment {
                position: s.position + from,
                tokens: &s.tokens[from..to],
                targets: &s.targets[from..to],
            }
        })
    });
    let mut next = rest.next();
    std::iter::from_fn(move || {
        let mut pass = Pass::default();
        while let Some(segment) = next {
            if pass.tokens.len() + segment.tokens.len() > batch {
                break;
            }
            pass.add(&segment);
            next = rest.next();
        }
        (!pass.tokens.is_empty()).then_some(pass)
    })
}

impl Pass {
    fn add(&mut self, segment: &Segment<'_>) {
        let first = self.tokens.len() as u32;
        self.spans.push(Span {
            position: segment.position,
            tokens: segment.tokens.len(),
        });
        self.tokens.extend_from_slice(segment.tokens);
        for (row, &target) in (first..).zip(segment.targets) {
            if target != IGNORED {
                self.rows.push(row);
                self.targets.push(target);
            }
        }
    }
}

/// Words as they were read: log-likelihoods and most likely tokens.
type Read = (Vec<u32>, Vec<u32>);

fn scores(targets: Vec<u32>, own: Read, other: Option<(Read, Vec<u32>)>) -> Vec<Scored> {
    let reference = |i: usize| {
        let ((nll, best), divergence) = other.as_ref()?;
        Some(Reference {
            nll: f32::from_bits(nll[i]),
            best: best[i],
            divergence: f32::from_bits(divergence[i]),
        })
    };
    let own = own.0.into_iter().zip(own.1).zip(targets).enumerate();
    own.map(|(i, ((nll, best), target))| Scored {
        target,
        nll: f32::from_bits(nll),
        best,
        reference: reference(i),
    })
    .collect()
}
