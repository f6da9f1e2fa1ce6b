//! `bench train`: tokens per second of whole training steps, and the memory they take.

use super::ceiling::Ceilings;
use super::report::{self, Format};
use crate::backend::{Backend, block_on};
use crate::cli::device::Task;
use crate::cli::out;
use crate::cli::timing::{Samples, WARM_UP};
use crate::error::Result;
use crate::model::Config;
use crate::ops::hash32;
use crate::train::fits;
use crate::train::step::{Batch, Memory, StepReport, TrainOptions, Trainer};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Instant;

/// Times training from scratch.
pub(super) struct TrainBench {
    /// Name of the shape.
    pub name: String,
    /// The shape.
    pub config: Config,
    /// How to train; a step is one micro-batch.
    pub options: TrainOptions,
    /// How often.
    pub repetitions: usize,
    /// How to print.
    pub format: Format,
    /// Print the time of every op in one step instead.
    pub profile: bool,
}

#[derive(Serialize)]
struct Row {
    tokens_per_second: f64,
    /// (fastest - slowest) / median.
    spread: f64,
    seconds_per_step: f64,
    teraflops: f64,
    percent_of_matmul: f64,
    matmul_teraflops: f64,
    /// Bytes of device memory, announced.
    memory: f64,
    memory_by_part: BTreeMap<&'static str, usize>,
    texts: usize,
    length: usize,
    checkpointing: bool,
    /// Of the last step.
    loss: f64,
    grad_norm: f64,
    device: String,
    model: String,
    method: String,
    parameters: usize,
    samples: Vec<f64>,
    version: &'static str,
}

const COLUMNS: [&str; 10] = [
    "model",
    "method",
    "device",
    "texts",
    "length",
    "tokens_per_second",
    "spread",
    "teraflops",
    "percent_of_matmul",
    "memory",
];

#[derive(Serialize)]
struct Share {
    op: &'static str,
    calls: usize,
    milliseconds: f64,
    percent: f64,
    teraflops: f64,
    gigabytes_per_second: f64,
}

const SHARES: [&str; 6] = [
    "op",
    "calls",
    "milliseconds",
    "percent",
    "teraflops",
    "gigabytes_per_second",
];

impl Task for TrainBench {
    type Output = ();

    fn run<B: Backend>(self, backend: &B) -> Result<()> {
        let memory = Memory::of(
            &self.config,
            &self.options,
            backend.facts().features,
            backend.facts().max_words,
        );
        for (part, bytes) in memory.parts().into_iter().filter(|p| p.1 > 0) {
            out::note(&format!("{part}: {}", out::memory(bytes as u64)));
        }
        fits(&memory, backend)?;
        let mut trainer = Trainer::from_scratch(backend, &self.config, self.options, 42)?;
        let id = |i: usize| hash32(i as u32, 7) % self.config.vocab as u32;
        let tokens: Vec<u32> = (0..self.options.n_tokens()).map(id).collect();
        let labels: Vec<i32> = tokens.iter().map(|&t| t as i32).collect();
        let batch = Batch {
            tokens: &tokens,
            labels: &labels,
            length: self.options.length,
        };
        let mut step = || block_on(backend, trainer.step(&[batch], 1e-4, 0.0));
        let mut report = step()?;
        let warm = Instant::now();
        while warm.elapsed() < WARM_UP {
            report = step()?;
        }
        if self.profile {
            backend.profile(true)?;
            step()?;
            return self.shares(backend);
        }
        let mut samples = Vec::new();
        for _ in 0..self.repetitions {
            let begun = Instant::now();
            report = step()?;
            samples.push(begun.elapsed().as_secs_f64());
        }
        drop(trainer);
        let ceilings = Ceilings::measure(backend)?;
        let row = self.row(backend, Samples::new(samples), report, ceilings, memory);
        report::print(&[row], self.format, &COLUMNS)
    }
}

impl TrainBench {
    fn row<B: Backend>(
        &self,
        backend: &B,
        seconds: Samples,
        report: StepReport,
        ceilings: Ceilings,
        memory: Memory,
    ) -> Row {
        let work = self.options.work(&self.config, self.options.n_tokens());
        let rate = work / seconds.median;
        Row {
            tokens_per_second: self.options.n_tokens() as f64 / seconds.median,
            spread: seconds.spread,
            seconds_per_step: seconds.median,
            teraflops: rate / 1e12,
            percent_of_matmul: 100.0 * rate / ceilings.matmul,
            matmul_teraflops: ceilings.matmul / 1e12,
            memory: memory.total() as f64,
            memory_by_part: memory.parts().into_iter().collect(),
            texts: self.options.n_seqs,
            length: self.options.length,
            checkpointing: self.options.checkpoint,
            loss: report.loss,
            grad_norm: report.grad_norm,
            device: backend.name(),
            model: self.name.clone(),
            method: format!("{:?}", self.options.recipe.method),
            parameters: self.config.parameters(),
            samples: seconds.samples,
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// Where the time of one step went.
    fn shares<B: Backend>(&self, backend: &B) -> Result<()> {
        let mut ops: BTreeMap<&'static str, [f64; 4]> = BTreeMap::new();
        let timings = block_on(backend, backend.profiled())?;
        let total: f64 = timings.iter().map(|t| t.nanoseconds).sum();
        for t in timings {
            let sums = ops.entry(t.op).or_default();
            let parts = [1.0, t.nanoseconds, t.cost.ops, t.cost.bytes];
            sums.iter_mut().zip(parts).for_each(|(s, p)| *s += p);
        }
        let share = |(op, [calls, nanoseconds, ops, bytes]): (_, [f64; 4])| Share {
            op,
            calls: calls as usize,
            milliseconds: nanoseconds / 1e6,
            percent: 100.0 * nanoseconds / total,
            teraflops: ops / nanoseconds / 1e3,
            gigabytes_per_second: bytes / nanoseconds,
        };
        let mut rows: Vec<_> = ops.into_iter().map(share).collect();
        rows.sort_by(|a: &Share, b: &Share| b.milliseconds.total_cmp(&a.milliseconds));
        report::print(&rows, self.format, &SHARES)
    }
}
