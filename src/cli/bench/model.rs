//! `bench` of a model: tokens per second, and how far from the device's ceilings that is.

use super::ceiling::Ceilings;
use super::report::{self, Format};
use super::test::Test;
use crate::backend::{Backend, block_on};
use crate::cli::args::ActivationName;
use crate::cli::device::Task;
use crate::cli::out;
use crate::cli::timing::{Samples, WARM_UP};
use crate::error::{Error, Result};
use crate::model::{Choice, Config, LoadOptions, Model, Session, Weights};
use crate::ops::hash32;
use serde::Serialize;
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
    /// The model.
    pub subject: Subject,
    /// What to measure.
    pub tests: Vec<Test>,
    /// How often.
    pub repetitions: usize,
    /// How to print.
    pub format: Format,
    /// Whether a person watches.
    pub progress: bool,
}

#[derive(Serialize)]
struct Row {
    test: String,
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
    percent_of_copy: Option<f64>,
    /// Multiplications and additions of the model as a dense one, of a prompt.
    teraflops: Option<f64>,
    percent_of_matmul: Option<f64>,
    copy_gigabytes_per_second: f64,
    matmul_teraflops: f64,
    device: String,
    model: String,
    parameters: usize,
    method: String,
    activations: &'static str,
    synthetic: bool,
    batch: usize,
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
        let bar = out::progress(self.progress, self.subject.config.linears().len());
        let begun = Instant::now();
        let model = self.subject.load(backend, &bar)?;
        let mut session = model.session()?;
        block_on(backend, prepare(&mut session, &self.tests))?;
        crate::cli::timing::sync(backend)?;
        let load_seconds = begun.elapsed().as_secs_f64();
        bar.set_message("ceilings");
        let ceilings = Ceilings::measure(backend)?;
        let mut rows = Vec::new();
        for &test in &self.tests {
            bar.set_message(test.name());
            let rates = if test.streams == 1 {
                block_on(backend, self.measure(&mut session, test))?
            } else {
                let mut sessions = model.sessions(test.streams)?;
                block_on(backend, self.measure(&mut sessions, test))?
            };
            rows.push(self.row(&model, test, rates, ceilings, load_seconds));
        }
        bar.finish_and_clear();
        report::print(&rows, self.format, &COLUMNS)
    }
}

impl Subject {
    /// Brings it to the device.
    pub(super) fn load<'b, B: Backend>(
        &self,
        backend: &'b B,
        bar: &indicatif::ProgressBar,
    ) -> Result<Model<&'b B>> {
        let Some(weights) = &self.weights else {
            let made = Model::synthetic(backend, &self.config, self.options);
            return block_on(backend, made);
        };
        let weights: &dyn Weights = &**weights;
        let mut progress = |name: &str| {
            bar.set_message(name.to_owned());
            bar.inc(1);
        };
        let loaded = Model::load(backend, &self.config, weights, self.options, &mut progress);
        block_on(backend, loaded)
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
    /// Tokens per second of every repetition, after a warm-up with the same work.
    async fn measure<B: Backend>(
        &self,
        session: &mut Session<'_, B>,
        test: Test,
    ) -> Result<Samples> {
        let vocab = self.subject.config.vocab;
        warm_up(session, test, vocab).await?;
        let mut rates = Vec::new();
        for _ in 0..self.repetitions {
            rates.push(test_rate(session, test, vocab).await?);
        }
        Ok(Samples::new(rates))
    }

    fn row<B: Backend>(
        &self,
        model: &Model<B>,
        test: Test,
        rates: Samples,
        ceilings: Ceilings,
        load_seconds: f64,
    ) -> Row {
        let subject = &self.subject;
        let (decoding, prompting) = (test.prompt == 0, test.generate == 0);
        let bytes = decoding.then(|| bytes_per_token(model, test));
        let bandwidth = bytes.map(|b| b * rates.median);
        let flops = prompting.then(|| flops(&subject.config, test) / test.prompt as f64);
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
            model: subject.name.clone(),
            parameters: subject.config.parameters(),
            method: subject.options.recipe.to_string(),
            activations: subject.activations.word(),
            synthetic: subject.weights.is_none(),
            batch: subject.options.batch,
            load_seconds,
            samples: rates.samples,
            version: env!("CARGO_PKG_VERSION"),
        }
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

/// Repeats the test until clocks have risen.
pub(super) async fn warm_up<B: Backend>(
    session: &mut Session<'_, B>,
    test: Test,
    vocab: usize,
) -> Result<()> {
    let started = Instant::now();
    loop {
        fill(session, test, vocab).await?;
        once(session, test, vocab).await?;
        if started.elapsed() >= WARM_UP {
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
