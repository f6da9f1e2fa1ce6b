//! `bench` of a model: tokens per second, and how far from the device's ceilings that is.

use super::ceiling::Ceilings;
use super::guard::Guard;
use super::report::{self, Format};
use super::test::Test;
use crate::backend::{Backend, block_on};
use crate::cli::args::ActivationName;
use crate::cli::device::Task;
use crate::cli::out;
use crate::cli::timing::{Samples, WARM_UP};
use crate::error::{Error, Result};
use crate::model::{Choice, Config, LoadOptions, Model, Pipeline, Session, Weights};
use crate::ops::hash32;
use crate::ranks::{Ranks, sum_u64};
use serde::Serialize;
use std::rc::Rc;
use std::time::Instant;

/// A model to be timed.
pub(super) struct Subject {
    /// Name of the model or shape.
    pub name: String,
    /// Its shape.
    pub config: Config,
    /// Its weights; synthetic ones if there are none.
    pub weights: Option<Box<dyn Weights + Send + Sync>>,
    /// How to load it.
    pub options: LoadOptions,
    /// The word for `options.activations`.
    pub activations: ActivationName,
}

/// Times a model.
pub(super) struct ModelBench {
    /// The models.
    pub subjects: Vec<Subject>,
    /// What to measure.
    pub tests: Vec<Test>,
    /// How often.
    pub repetitions: usize,
    /// How to print.
    pub format: Format,
    /// Whether a person watches.
    pub progress: bool,
    /// What they must not be slower than.
    pub guard: Option<Guard>,
    /// Those that have a part of the layers each.
    pub ranks: Rc<dyn Ranks>,
}

/// A result.
#[derive(Serialize)]
pub(super) struct Row {
    pub test: String,
    prompt_tokens: usize,
    generated_tokens: usize,
    /// Tokens in the cache before.
    depth: usize,
    streams: usize,
    tokens_per_second: f64,
    /// (fastest - slowest) / median.
    spread: f64,
    /// Weights and cache that one step of decoding reads, divided by its tokens; the mean over the steps.
    bytes_per_token: Option<f64>,
    gigabytes_per_second: Option<f64>,
    pub percent_of_copy: Option<f64>,
    /// Multiplications and additions of the model as a dense one, of a prompt.
    teraflops: Option<f64>,
    pub percent_of_matmul: Option<f64>,
    copy_gigabytes_per_second: f64,
    matmul_teraflops: f64,
    device: String,
    pub model: String,
    parameters: usize,
    pub method: String,
    pub activations: &'static str,
    synthetic: bool,
    batch: usize,
    ranks: usize,
    /// From the open device to the first token that could be computed.
    load_seconds: f64,
    samples: Vec<f64>,
    version: &'static str,
}

const COLUMNS: [&str; 11] = [
    "model",
    "method",
    "activations",
    "device",
    "test",
    "tokens_per_second",
    "spread",
    "gigabytes_per_second",
    "percent_of_copy",
    "teraflops",
    "percent_of_matmul",
];

impl Task for ModelBench {
    type Output = ();

    fn run<B: Backend>(self, backend: &B) -> Result<()> {
        let ceilings = Ceilings::measure(backend)?;
        let (mut rows, mut failed) = (Vec::new(), None);
        for subject in &self.subjects {
            match self.rows(subject, backend, ceilings) {
                Ok(measured) => rows.extend(measured),
                // The others are worth their time all the same.
                Err(error) if self.subjects.len() > 1 => {
                    out::note(&format!("{}: {error}", subject.name));
                    failed = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        if self.ranks.rank() > 0 {
            return failed.map_or(Ok(()), Err);
        }
        report::print(&rows, self.format, &COLUMNS)?;
        match (failed, &self.guard) {
            (Some(error), _) => Err(error),
            (None, Some(guard)) => guard.check(&rows),
            (None, None) => Ok(()),
        }
    }
}

impl Subject {
    /// Brings it to the device: all of it, or the layers of one rank.
    pub(super) fn load<'b, B: Backend>(
        &self,
        backend: &'b B,
        pipeline: Option<Pipeline>,
        bar: &indicatif::ProgressBar,
    ) -> Result<Model<&'b B>> {
        let (config, options) = (&self.config, self.options);
        let Some(weights) = &self.weights else {
            let made = Model::synthetic_among(backend, config, options, pipeline);
            return block_on(backend, made);
        };
        let weights: &dyn Weights = &**weights;
        let mut progress = |name: &str| {
            bar.set_message(name.to_owned());
            bar.inc(1);
        };
        let progress = &mut progress;
        let loaded = Model::load_among(backend, config, weights, options, pipeline, progress);
        block_on(backend, loaded)
    }

    fn row<B: Backend>(
        &self,
        model: &Model<B>,
        test: Test,
        rates: Samples,
        ceilings: Ceilings,
        (load_seconds, ranks): (f64, usize),
    ) -> Row {
        // What one device could do says nothing of several in turn.
        let (decoding, prompting) = match ranks {
            1 => (test.prompt == 0, test.generate == 0),
            _ => (false, false),
        };
        let bytes = decoding.then(|| bytes_per_token(model, test));
        let bandwidth = bytes.map(|b| b * rates.median);
        let flops = prompting.then(|| flops(&self.config, test) / test.prompt as f64);
        let flops = flops.map(|f| f * rates.median);
        Row {
            test: test.name(),
            prompt_tokens: test.prompt,
            generated_tokens: test.generate,
            depth: test.depth,
            streams: test.streams,
            tokens_per_second: rates.median,
            spread: rates.spread,
            bytes_per_token: bytes,
            gigabytes_per_second: bandwidth.map(|b| b / 1e9),
            percent_of_copy: bandwidth.map(|b| 100.0 * b / ceilings.copy),
            teraflops: flops.map(|f| f / 1e12),
            percent_of_matmul: flops.map(|f| 100.0 * f / ceilings.matmul),
            copy_gigabytes_per_second: ceilings.copy / 1e9,
            matmul_teraflops: ceilings.matmul / 1e12,
            device: model.backend().name(),
            model: self.name.clone(),
            parameters: self.config.parameters(),
            method: self.options.recipe.to_string(),
            activations: self.activations.word(),
            synthetic: self.weights.is_none(),
            batch: self.options.batch,
            ranks,
            load_seconds,
            samples: rates.samples,
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// Refuses tests that do not fit the model's context.
    pub(super) fn check(&self, tests: &[Test]) -> Result<()> {
        let context = self.config.context;
        match tests.iter().find(|t| t.context() > context) {
            Some(test) => Err(Error::Context {
                prompt: test.depth,
                new: test.tokens(),
                context,
            }),
            None => Ok(()),
        }
    }
}

/// Compiles what `tests` need.
pub(super) async fn prepare<B: Backend>(
    session: &mut Session<'_, B>,
    tests: &[Test],
) -> Result<()> {
    let prompts: Vec<usize> = tests.iter().flat_map(|t| [t.prompt, t.depth]).collect();
    session.prepare(&prompts).await
}

impl ModelBench {
    /// All tests of a model.
    fn rows<B: Backend>(
        &self,
        subject: &Subject,
        backend: &B,
        ceilings: Ceilings,
    ) -> Result<Vec<Row>> {
        let bar = out::progress(self.progress, subject.config.linears().len());
        let begun = Instant::now();
        let pipeline = Pipeline::new(&self.ranks, &subject.config)?;
        let model = subject.load(backend, pipeline, &bar)?;
        let mut session = model.session()?;
        block_on(backend, prepare(&mut session, &self.tests))?;
        crate::cli::timing::sync(backend)?;
        let load_seconds = begun.elapsed().as_secs_f64();
        let mut rows = Vec::new();
        for &test in &self.tests {
            bar.set_message(test.name());
            let vocab = subject.config.vocab;
            let rates = if test.streams == 1 {
                block_on(backend, self.measure(&mut session, test, vocab))?
            } else {
                let mut sessions = model.sessions(test.streams)?;
                block_on(backend, self.measure(&mut sessions, test, vocab))?
            };
            let with = (load_seconds, self.ranks.size());
            rows.push(subject.row(&model, test, rates, ceilings, with));
        }
        bar.finish_and_clear();
        Ok(rows)
    }

    /// Tokens per second of every repetition, after a warm-up with the same work.
    async fn measure<B: Backend>(
        &self,
        session: &mut Session<'_, B>,
        test: Test,
        vocab: usize,
    ) -> Result<Samples> {
        warm_up(session, test, vocab, &*self.ranks).await?;
        let mut rates = Vec::new();
        for _ in 0..self.repetitions {
            rates.push(test_rate(session, test, vocab).await?);
        }
        Ok(Samples::new(rates))
    }
}

/// Bytes a step of decoding reads for each of its tokens: the weights, shared by all streams, and the cache up to the
/// middle of the test.
fn bytes_per_token<B: Backend>(model: &Model<B>, test: Test) -> f64 {
    let positions = test.depth as f64 + (test.generate as f64 + 1.0) / 2.0;
    model.bytes_per_token() as f64 / test.streams as f64 + model.cache_bytes_read(positions)
}

/// Operations of a prompt: two per weight of the linear layers and token (the head sees the last token alone), and
/// four per attended position and channel.
fn flops(config: &Config, test: Test) -> f64 {
    let weights = |l: &crate::model::config::LinearShape| l.out_features * l.in_features;
    let linears = config.linears();
    let (head, blocks): (Vec<_>, Vec<_>) = linears.iter().partition(|l| l.prefix == Config::HEAD);
    let sum = |layers: Vec<&_>| layers.into_iter().map(weights).sum::<usize>() as f64;
    let tokens = test.prompt as f64;
    let attended = tokens * (test.depth as f64 + (tokens + 1.0) / 2.0);
    let channels = (config.layers * config.heads * config.head_dim) as f64;
    2.0 * (sum(blocks) * tokens + sum(head)) + 4.0 * channels * attended
}

/// Fills the cache to the test's depth, or goes back to there where the layers still have what a token there sees.
pub(super) async fn fill<B: Backend>(
    session: &mut Session<'_, B>,
    test: Test,
    vocab: usize,
) -> Result<()> {
    session.rewind(test.depth);
    if session.position() < test.depth {
        let missing = session.position()..test.depth;
        let ids: Vec<u32> = missing.map(|i| token(i, vocab)).collect();
        session.feed_each(&vec![ids; session.n_seqs()]).await?;
    }
    Ok(())
}

/// Repeats the test until clocks have risen, as long as the first rank says.
pub(super) async fn warm_up<B: Backend>(
    session: &mut Session<'_, B>,
    test: Test,
    vocab: usize,
    ranks: &dyn Ranks,
) -> Result<()> {
    let started = Instant::now();
    loop {
        fill(session, test, vocab).await?;
        once(session, test, vocab).await?;
        let cold = ranks.rank() == 0 && started.elapsed() < WARM_UP;
        if sum_u64(ranks, cold.into())? == 0 {
            return Ok(());
        }
    }
}

/// Tokens per second of one repetition, all streams together.
pub(super) async fn test_rate<B: Backend>(
    session: &mut Session<'_, B>,
    test: Test,
    vocab: usize,
) -> Result<f64> {
    fill(session, test, vocab).await?;
    let begun = Instant::now();
    once(session, test, vocab).await?;
    Ok((test.tokens() * test.streams) as f64 / begun.elapsed().as_secs_f64())
}

fn token(i: usize, vocab: usize) -> u32 {
    hash32(i as u32, 1) % vocab as u32
}

/// Does it once, to the very end, after [`fill`]: the last token is known on the host. Prompts are those of one stream.
pub(super) async fn once<B: Backend>(
    session: &mut Session<'_, B>,
    test: Test,
    vocab: usize,
) -> Result<()> {
    let mut next = token(0, vocab);
    if test.prompt > 0 {
        let ids: Vec<u32> = (0..test.prompt).map(|i| token(i, vocab)).collect();
        session.feed(&ids).await?;
        next = session.argmax().await?;
    }
    if test.generate > 0 {
        let last: Vec<u32> = (0..session.n_seqs() as u32)
            .map(|sequence| (next + sequence) % vocab as u32)
            .collect();
        session.decode(&last, test.generate, Choice::Greedy).await?;
    }
    Ok(())
}
