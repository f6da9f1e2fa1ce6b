//! `bench --compare A B`: two settings in turn, A B B A, so that a drift of the clocks cancels.

use super::Bench;
use super::model::{Subject, prepare, test_rate, warm_up};
use super::report::{self, Format};
use super::test::Test;
use crate::backend::{Backend, block_on};
use crate::cli::device::{self, Task};
use crate::cli::out;
use crate::cli::timing::Samples;
use crate::error::{Error, Result};
use crate::ranks::One;
use serde::Serialize;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Scope, ScopedJoinHandle};

#[derive(Serialize)]
struct Row {
    test: String,
    a: String,
    b: String,
    a_tokens_per_second: f64,
    b_tokens_per_second: f64,
    /// B's speed over A's: the median of the rounds.
    ratio: f64,
    /// (largest - smallest) / median of the rounds' ratios.
    ratio_spread: f64,
    a_spread: f64,
    b_spread: f64,
    a_device: String,
    b_device: String,
    /// Of each round A B B A: tokens per second of both, and the ratio of the times.
    rounds: Vec<Round>,
    version: &'static str,
}

#[derive(Clone, Copy, Serialize)]
struct Round {
    a: f64,
    b: f64,
    ratio: f64,
}

const COLUMNS: [&str; 8] = [
    "test",
    "a",
    "b",
    "a_tokens_per_second",
    "b_tokens_per_second",
    "ratio",
    "ratio_spread",
    "a_device",
];

/// What a worker is asked to do.
enum Ask {
    /// Get ready for a test.
    WarmUp(Test),
    /// Do it once.
    Run(Test),
}

/// What it answers.
enum Answer {
    /// The model is loaded, on this device.
    Ready(String),
    /// Warm.
    Warm,
    /// Tokens per second.
    Rate(f64),
}

/// A model on a device, working on its own thread: devices, models and sessions borrow from each other and may be of
/// different types.
struct Worker<'s> {
    setting: String,
    device: String,
    asks: Option<Sender<Ask>>,
    answers: Receiver<Answer>,
    thread: Option<ScopedJoinHandle<'s, Result<()>>>,
}

struct Serve {
    subject: Subject,
    tests: Vec<Test>,
    asks: Receiver<Ask>,
    answers: Sender<Answer>,
}

impl Task for Serve {
    type Output = ();

    fn run<B: Backend>(self, backend: &B) -> Result<()> {
        let hidden = out::progress(false, 0);
        let model = self.subject.load(backend, None, &hidden)?;
        let mut session = model.session()?;
        block_on(backend, prepare(&mut session, &self.tests))?;
        let vocab = self.subject.config.vocab;
        // who does not listen any more has failed elsewhere
        let _ = self.answers.send(Answer::Ready(backend.name()));
        for ask in self.asks {
            let answer = match ask {
                Ask::WarmUp(test) => {
                    block_on(backend, warm_up(&mut session, test, vocab, &One))?;
                    Answer::Warm
                }
                Ask::Run(test) => {
                    Answer::Rate(block_on(backend, test_rate(&mut session, test, vocab))?)
                }
            };
            let _ = self.answers.send(answer);
        }
        Ok(())
    }
}

impl<'s> Worker<'s> {
    /// Loads the model of `bench` changed by `setting`, and waits until it is ready: one device opens at a time.
    fn start<'e>(
        scope: &'s Scope<'s, 'e>,
        bench: &Bench,
        setting: &str,
        tests: &[Test],
    ) -> Result<Self> {
        let bench = bench.with(setting)?;
        let (asks, serve_asks) = channel();
        let (serve_answers, answers) = channel();
        let serve = Serve {
            subject: bench.subject(bench.one_shape()?, tests)?,
            tests: tests.to_vec(),
            asks: serve_asks,
            answers: serve_answers,
        };
        let thread = scope.spawn(move || device::run_on(&bench.device, serve));
        let mut worker = Self {
            setting: setting.to_owned(),
            device: String::new(),
            asks: Some(asks),
            answers,
            thread: Some(thread),
        };
        match worker.answer()? {
            Answer::Ready(device) => worker.device = device,
            _ => return Err(lost()),
        }
        Ok(worker)
    }

    fn ask(&mut self, ask: Ask) -> Result<Answer> {
        if let Some(asks) = &self.asks {
            let _ = asks.send(ask); // if nobody hears it, nobody answers either
        }
        self.answer()
    }

    /// The next answer, or the error that the thread ended with.
    fn answer(&mut self) -> Result<Answer> {
        match self.answers.recv() {
            Ok(answer) => Ok(answer),
            Err(_) => Err(self.end().err().unwrap_or_else(lost)),
        }
    }

    fn rate(&mut self, test: Test) -> Result<f64> {
        match self.ask(Ask::Run(test))? {
            Answer::Rate(rate) => Ok(rate),
            _ => Err(lost()),
        }
    }

    /// Lets the thread end, and its device close.
    fn end(&mut self) -> Result<()> {
        self.asks = None;
        match self.thread.take().map(ScopedJoinHandle::join) {
            None => Ok(()),
            Some(joined) => joined.unwrap_or_else(|_| Err(lost())),
        }
    }
}

fn lost() -> Error {
    Error::device("a measuring thread ended early", "please report this")
}

/// Measures all tests with both settings and prints a row for each.
pub(super) fn run(
    bench: &Bench,
    settings: [&str; 2],
    format: Format,
    progress: bool,
) -> Result<()> {
    let tests = bench.tests.tests()?;
    let bar = out::progress(progress, tests.len());
    let rows = std::thread::scope(|scope| {
        let mut a = Worker::start(scope, bench, settings[0], &tests)?;
        let mut b = Worker::start(scope, bench, settings[1], &tests)?;
        let mut rows = Vec::new();
        for &test in &tests {
            bar.set_message(test.name());
            rows.push(compare(&mut a, &mut b, test, bench.repetitions)?);
            bar.inc(1);
        }
        a.end()?; // one after the other: drivers may crash when devices close at once
        b.end()?;
        Ok::<_, Error>(rows)
    })?;
    bar.finish_and_clear();
    report::print(&rows, format, &COLUMNS)
}

fn compare<'s>(a: &mut Worker<'s>, b: &mut Worker<'s>, test: Test, rounds: u64) -> Result<Row> {
    for worker in [&mut *a, &mut *b] {
        worker.ask(Ask::WarmUp(test))?;
    }
    let mut done = Vec::new();
    for _ in 0..rounds {
        let a1 = a.rate(test)?;
        let (b1, b2) = (b.rate(test)?, b.rate(test)?);
        let a2 = a.rate(test)?;
        // rates of the two runs' whole time
        let mean = |x: f64, y: f64| 2.0 / (1.0 / x + 1.0 / y);
        let (a, b) = (mean(a1, a2), mean(b1, b2));
        done.push(Round { a, b, ratio: b / a });
    }
    let samples = |value: fn(&Round) -> f64| Samples::new(done.iter().map(value).collect());
    let (rate_a, rate_b, ratio) = (samples(|r| r.a), samples(|r| r.b), samples(|r| r.ratio));
    Ok(Row {
        test: test.name(),
        a: a.setting.clone(),
        b: b.setting.clone(),
        a_tokens_per_second: rate_a.median,
        b_tokens_per_second: rate_b.median,
        ratio: ratio.median,
        ratio_spread: ratio.spread,
        a_spread: rate_a.spread,
        b_spread: rate_b.spread,
        a_device: a.device.clone(),
        b_device: b.device.clone(),
        rounds: done,
        version: env!("CARGO_PKG_VERSION"),
    })
}
