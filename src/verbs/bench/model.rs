//! `bench` of a model: tokens per second of prompts and of decoding.

use super::report::{self, Format};
use super::timing::{Samples, WARM_UP};
use crate::backend::{Backend, block_on};
use crate::error::Result;
use crate::model::{Config, LoadOptions, Model, Session, Weights};
use crate::ops::hash32;
use crate::verbs::args::ActivationName;
use crate::verbs::device::Task;
use crate::verbs::{out, source};
use serde::Serialize;
use std::time::Instant;

/// Times a model.
pub struct ModelBench {
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
    /// What to measure.
    pub tests: Vec<Test>,
    /// How often.
    pub repetitions: usize,
    /// How to print.
    pub format: Format,
    /// Whether a person watches.
    pub progress: bool,
}

/// One thing to measure, from an empty context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// Processing a prompt of so many tokens.
    Prompt(usize),
    /// Generating so many tokens, one by one, each the most likely one.
    Generate(usize),
}

impl Test {
    /// llama-bench's name for it.
    fn name(self) -> String {
        match self {
            Self::Prompt(n) => format!("pp{n}"),
            Self::Generate(n) => format!("tg{n}"),
        }
    }

    /// Tokens it processes.
    pub fn tokens(self) -> usize {
        match self {
            Self::Prompt(n) | Self::Generate(n) => n,
        }
    }
}

#[derive(Serialize)]
struct Row {
    test: String,
    tokens_per_second: f64,
    /// (fastest - slowest) / median.
    spread: f64,
    device: String,
    model: String,
    parameters: usize,
    method: String,
    activations: &'static str,
    synthetic: bool,
    batch: usize,
    samples: Vec<f64>,
    version: &'static str,
}

impl Task for ModelBench {
    type Output = ();

    fn run<B: Backend>(self, backend: &B) -> Result<()> {
        let bar = out::progress(self.progress, self.config.linears().len());
        let model = block_on(backend, self.load(backend, &bar))?;
        let mut session = model.session()?;
        let mut rows = Vec::new();
        for &test in &self.tests {
            bar.set_message(test.name());
            let rates = block_on(backend, self.measure(&mut session, test))?;
            rows.push(self.row(test, rates, backend.name()));
        }
        bar.finish_and_clear();
        let columns = [
            "model",
            "method",
            "activations",
            "device",
            "test",
            "tokens_per_second",
            "spread",
        ];
        report::print(&rows, self.format, &columns)
    }
}

impl ModelBench {
    async fn load<'b, B: Backend>(
        &self,
        backend: &'b B,
        bar: &indicatif::ProgressBar,
    ) -> Result<Model<&'b B>> {
        let Some(weights) = &self.weights else {
            return Model::synthetic(backend, &self.config, self.options).await;
        };
        let weights: &dyn Weights = &**weights;
        let mut progress = |name: &str| {
            bar.set_message(name.to_owned());
            bar.inc(1);
        };
        Model::load(backend, &self.config, weights, self.options, &mut progress).await
    }

    /// Tokens per second of every repetition, after a warm-up with the same work.
    async fn measure<B: Backend>(
        &self,
        session: &mut Session<'_, B>,
        test: Test,
    ) -> Result<Samples> {
        let started = Instant::now();
        once(session, test, self.config.vocab).await?;
        while started.elapsed() < WARM_UP {
            once(session, test, self.config.vocab).await?;
        }
        let mut rates = Vec::new();
        for _ in 0..self.repetitions {
            let begun = Instant::now();
            once(session, test, self.config.vocab).await?;
            rates.push(test.tokens() as f64 / begun.elapsed().as_secs_f64());
        }
        Ok(Samples::new(rates))
    }

    fn row(&self, test: Test, rates: Samples, device: String) -> Row {
        Row {
            test: test.name(),
            tokens_per_second: rates.median,
            spread: rates.spread,
            device,
            model: self.name.clone(),
            parameters: self.config.parameters(),
            method: source::describe(&self.options.recipe),
            activations: self.activations.word(),
            synthetic: self.weights.is_none(),
            batch: self.options.batch,
            samples: rates.samples,
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// Does it once, to the very end: the last token is known on the host.
async fn once<B: Backend>(session: &mut Session<'_, B>, test: Test, vocab: usize) -> Result<()> {
    let token = |i: usize| hash32(i as u32, 1) % vocab as u32;
    session.rewind(0);
    match test {
        Test::Prompt(n) => {
            let ids: Vec<u32> = (0..n).map(token).collect();
            session.feed(&ids).await?;
            session.argmax().await?;
        }
        Test::Generate(n) => {
            let mut next = token(0);
            for _ in 0..n {
                session.feed(&[next]).await?;
                next = session.argmax().await?;
            }
        }
    }
    Ok(())
}
