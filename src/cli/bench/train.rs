//! `bench train`: tokens per second of whole training steps, and the memory they take. Among ranks, all of them make the
//! steps together, and the first one prints.

use super::ceiling::Ceilings;
use super::report::{self, Format};
use super::{Bench, shapes};
use crate::backend::{Backend, block_on};
use crate::cli::args::MethodName;
use crate::cli::device::{self, Task};
use crate::cli::out;
use crate::cli::timing::{Samples, WARM_UP};
use crate::error::{Error, Result};
use crate::model::Config;
use crate::ops::hash32;
use crate::ranks::{Dealt, Ranks, sum_u64};
use crate::train::fits;
use crate::train::step::{Among, Batch, Memory, Shard, StepReport, Times, TrainOptions, Trainer};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Instant;

/// Times training from scratch.
pub(super) struct TrainBench<'r> {
    /// Name of the shape.
    pub name: String,
    /// The shape.
    pub config: Config,
    /// How to train.
    pub options: TrainOptions,
    /// Those who make a step together.
    pub ranks: &'r dyn Ranks,
    /// The micro-batches of a step.
    pub dealt: Dealt,
    /// How often.
    pub repetitions: usize,
    /// How to print.
    pub format: Format,
    /// Print the time of every op in one step instead.
    pub profile: bool,
}

impl Bench {
    /// Times training of the shape that the arguments name.
    pub(super) fn train(&self, ranks: &dyn Ranks) -> Result<()> {
        let Some(name) = self.one_shape()?.map(str::to_owned) else {
            return Err(Error::usage("bench train needs a shape", "give --shape"));
        };
        let config = shapes::shape(&name)?;
        let recipe = self.recipe.recipe(MethodName::Fairy2i, &config)?;
        let size = ranks.size();
        let shard = Shard {
            rank: ranks.rank(),
            ranks: size,
        };
        let options = TrainOptions {
            checkpoint: !self.keep_activations,
            exact: self.paths.exact,
            moments: self.moments,
            masters: self.masters,
            shard: self.shard.then_some(shard),
            ..TrainOptions::new(recipe, self.micro_batch, self.seq)
        };
        let each = options.n_tokens().max(1);
        let tokens = self.batch_tokens.unwrap_or(each.saturating_mul(size));
        if !tokens.is_multiple_of(each) {
            return Err(Error::usage(
                format!("--batch-tokens {tokens} with micro-batches of {each} tokens"),
                "give a multiple of that",
            ));
        }
        let bench = TrainBench {
            config,
            name,
            options,
            ranks,
            dealt: Dealt::new(tokens / each, self.groups.unwrap_or(size), size)?,
            repetitions: self.repetitions as usize,
            format: self.output,
            profile: self.profile,
        };
        device::run(&device::open_for(&self.device, ranks, self.profile)?, bench)
    }
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
    ranks: usize,
    groups: usize,
    shard: bool,
    tokens_per_step: usize,
    /// Seconds of a step on the first rank, by what it did or waited for; nothing where no gradients are exchanged.
    seconds_by_part: BTreeMap<&'static str, f64>,
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

const COLUMNS: [&str; 12] = [
    "model",
    "method",
    "device",
    "ranks",
    "texts",
    "length",
    "tokens_per_step",
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

impl Task for TrainBench<'_> {
    type Output = ();

    fn run<B: Backend>(self, backend: &B) -> Result<()> {
        let facts = backend.facts();
        let memory = Memory::of(&self.config, &self.options, facts.features, facts.max_words);
        let leads = self.ranks.rank() == 0;
        for (part, bytes) in memory.parts().into_iter().filter(|p| p.1 > 0 && leads) {
            out::note(&format!("{part}: {}", out::memory(bytes as u64)));
        }
        fits(&memory, backend)?;
        let mut trainer = Trainer::from_scratch(backend, &self.config, self.options, 42)?;
        let (n, dealt) = (self.options.n_tokens(), self.dealt);
        let mine = dealt.of_rank(self.ranks.rank());
        let id = |i: usize| hash32(i as u32, 7) % self.config.vocab as u32;
        let tokens: Vec<u32> = (mine.start * n..mine.end * n).map(id).collect();
        let labels: Vec<i32> = tokens.iter().map(|&t| t as i32).collect();
        let batches = tokens.chunks(n).zip(labels.chunks(n));
        let batches: Vec<_> = batches
            .map(|(tokens, labels)| Batch {
                tokens,
                labels,
                length: self.options.length,
            })
            .collect();
        let ranks = self.ranks;
        block_on(backend, trainer.share(ranks))?;
        let mut step = || {
            let among = Among { ranks, dealt };
            let report = block_on(backend, trainer.step_among(among, &batches, 1e-4, 0.0))?;
            Ok((report, trainer.times()))
        };
        let (mut report, mut before) = step()?;
        let warm = Instant::now();
        // The first rank says when all are warm.
        while sum_u64(ranks, u64::from(leads && warm.elapsed() < WARM_UP))? > 0 {
            (report, before) = step()?;
        }
        if self.profile {
            backend.profile(true)?;
            step()?;
            return if leads { self.shares(backend) } else { Ok(()) };
        }
        let (mut samples, mut times) = (Vec::new(), before);
        for _ in 0..self.repetitions {
            ranks.barrier()?;
            let begun = Instant::now();
            (report, times) = step()?;
            samples.push(begun.elapsed().as_secs_f64());
        }
        drop(trainer);
        if !leads {
            return Ok(());
        }
        let ceilings = Ceilings::measure(backend)?;
        let parts = self.parts([before, times], &samples);
        let samples = Samples::new(samples);
        let row = self.row(backend, (samples, parts), report, ceilings, memory);
        report::print(&[row], self.format, &COLUMNS)
    }
}

impl TrainBench<'_> {
    /// Seconds of a step by part, of steps that took so long.
    fn parts(&self, [before, after]: [Times; 2], all: &[f64]) -> BTreeMap<&'static str, f64> {
        if self.ranks.size() == 1 && self.dealt.groups() == 1 {
            return BTreeMap::new();
        }
        let steps = all.len() as f64;
        let each = |of: fn(&Times) -> std::time::Duration| {
            (of(&after) - of(&before)).as_secs_f64() / steps
        };
        let mut parts = BTreeMap::from([
            ("device", each(|t| t.device)),
            ("exchange", each(|t| t.exchange)),
            ("waiting", each(|t| t.waiting)),
            ("upload", each(|t| t.upload)),
            ("update", each(|t| t.update)),
            ("share", each(|t| t.share)),
        ]);
        let known: f64 = parts.values().sum();
        parts.insert("rest", all.iter().sum::<f64>() / steps - known);
        parts
    }

    fn row<B: Backend>(
        &self,
        backend: &B,
        (seconds, parts): (Samples, BTreeMap<&'static str, f64>),
        report: StepReport,
        ceilings: Ceilings,
        memory: Memory,
    ) -> Row {
        let tokens = self.dealt.micro_batches() * self.options.n_tokens();
        let rate = self.options.work(&self.config, tokens) / seconds.median;
        let ceiling = ceilings.matmul * self.ranks.size() as f64;
        Row {
            tokens_per_second: tokens as f64 / seconds.median,
            spread: seconds.spread,
            seconds_per_step: seconds.median,
            teraflops: rate / 1e12,
            percent_of_matmul: 100.0 * rate / ceiling,
            matmul_teraflops: ceilings.matmul / 1e12,
            memory: memory.total() as f64,
            memory_by_part: memory.parts().into_iter().collect(),
            ranks: self.ranks.size(),
            groups: self.dealt.groups(),
            shard: self.options.shard.is_some(),
            tokens_per_step: tokens,
            seconds_by_part: parts,
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
