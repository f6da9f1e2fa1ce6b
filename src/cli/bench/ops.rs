//! `bench ops`: the roofline line of every op: what it moves and computes, against what the device could.

use super::ceiling::Ceilings;
use super::report::{self, Format};
use crate::backend::{Backend, block_on, upload_new};
use crate::cli::device::Task;
use crate::cli::out;
use crate::cli::timing::measure;
use crate::error::{Error, Result};
use crate::ops::memory::Copy;
use crate::ops::memory::Noise;
use crate::ops::{BenchCase, Case, Data, Made, Op, Visitor, for_each};
use serde::Serialize;

/// Bytes that the copies of a case's buffers should have together, so that no cache holds them all.
const SPREAD: usize = 256 << 20;
/// Most copies of a case's buffers; what is smaller than this allows lives in caches in real use too.
const COPIES: usize = 32;

/// Times ops.
pub(super) struct OpsBench {
    /// Only ops whose name contains this.
    pub op: String,
    /// Every test case instead of the most expensive one of each op.
    pub all: bool,
    /// The cases of realistic size, where an op has some.
    pub large: bool,
    /// How to print.
    pub format: Format,
    /// Whether a person watches.
    pub progress: bool,
}

#[derive(Serialize)]
struct Row {
    op: &'static str,
    case: String,
    /// Median seconds of one run, times a million.
    microseconds: f64,
    spread: f64,
    bytes: f64,
    gigabytes_per_second: f64,
    /// Bytes per second in percent of what a copy reaches.
    percent_of_copy: f64,
    operations: f64,
    teraflops: f64,
    /// Operations per second in percent of what a large dense matrix product reaches.
    percent_of_matmul: f64,
    device: String,
}

impl Row {
    /// The large copy that others are compared with.
    fn ceiling(ceilings: Ceilings, device: String) -> Self {
        let op = Copy {
            quads: ceilings.copied / 4,
        };
        let bytes = op.cost().bytes;
        Self {
            op: Copy::NAME,
            case: "the ceiling".to_owned(),
            microseconds: bytes / ceilings.copy * 1e6,
            spread: ceilings.copy_spread,
            bytes,
            gigabytes_per_second: ceilings.copy / 1e9,
            percent_of_copy: 100.0,
            operations: 0.0,
            teraflops: 0.0,
            percent_of_matmul: 0.0,
            device,
        }
    }
}

const COLUMNS: [&str; 10] = [
    "op",
    "case",
    "microseconds",
    "spread",
    "bytes",
    "gigabytes_per_second",
    "percent_of_copy",
    "operations",
    "teraflops",
    "percent_of_matmul",
];

struct Walk<'a, B> {
    backend: &'a B,
    bench: OpsBench,
    ceilings: Ceilings,
    bar: indicatif::ProgressBar,
    rows: Vec<Row>,
    /// Whether the device lacks a kernel for an op that was asked for.
    left_out: bool,
}

impl Task for OpsBench {
    type Output = ();

    fn run<B: Backend>(self, backend: &B) -> Result<()> {
        let format = self.format;
        let bar = out::progress(self.progress, 0);
        bar.set_message("ceilings");
        let ceilings = Ceilings::measure(backend)?;
        let mut walk = Visit {
            failure: Ok(()),
            walk: Walk {
                backend,
                ceilings,
                bar,
                bench: self,
                rows: vec![Row::ceiling(ceilings, backend.name())],
                left_out: false,
            },
        };
        for_each(&mut walk);
        walk.failure?;
        let walk = walk.walk;
        walk.bar.finish_and_clear();
        if walk.rows.len() == 1 && !walk.left_out {
            return Err(Error::usage(
                format!("no op's name contains `{}`", walk.bench.op),
                "bench ops without --op lists them all",
            ));
        }
        out::note(&format!(
            "{}: copies {}, multiplies matrices at {}",
            backend.name(),
            out::scaled(ceilings.copy, "B/s"),
            out::scaled(ceilings.matmul, "FLOP/s"),
        ));
        report::print(&walk.rows, format, &COLUMNS)
    }
}

/// Stops at the first failure.
struct Visit<'a, B> {
    walk: Walk<'a, B>,
    failure: Result<()>,
}

impl<B: Backend> Visitor for Visit<'_, B> {
    fn visit<O: Op>(&mut self) {
        if self.failure.is_ok() && O::NAME.contains(&self.walk.bench.op) {
            self.failure = self.walk.op::<O>();
        }
    }
}

impl<B: Backend> Walk<'_, B> {
    fn op<O: Op>(&mut self) -> Result<()> {
        if !self.backend.runs::<O>() {
            let op = O::NAME;
            out::note(&format!("{op}: needs more than this device has, left out"));
            self.left_out = true;
            return Ok(());
        }
        let large = O::bench_cases();
        if self.bench.large && !large.is_empty() {
            for case in large {
                let longest = case.op.lengths().into_iter().max().unwrap_or(0);
                if longest > self.backend.facts().max_words {
                    let (op, case) = (O::NAME, case.name());
                    out::note(&format!("{op}, {case}: does not fit one binding, left out"));
                    continue;
                }
                self.time(&case.name(), &case.op, || made(self.backend, &case))?;
            }
            return Ok(());
        }
        for case in cases::<O>(self.bench.all) {
            self.time(&case.name(), &case.op, || given(self.backend, &case))?;
        }
        Ok(())
    }

    fn time<O: Op>(
        &mut self,
        name: &str,
        op: &O,
        buffers: impl Fn() -> Result<Vec<B::Buffer>>,
    ) -> Result<()> {
        self.bar.set_message(format!("{}, {name}", O::NAME));
        let words: usize = op.lengths().iter().sum();
        let copies = (SPREAD / 4 / words.max(1)).clamp(1, COPIES);
        let sets = (0..copies).map(|_| buffers()).collect::<Result<Vec<_>>>()?;
        let sets: Vec<Vec<&B::Buffer>> = sets.iter().map(|s| s.iter().collect()).collect();
        let mut next = 0;
        let seconds = measure(self.backend, async || {
            next = (next + 1) % sets.len();
            self.backend.run(op, &sets[next]).await
        })?;
        let cost = op.cost();
        let (bytes, ops) = (cost.bytes / seconds.median, cost.ops / seconds.median);
        self.rows.push(Row {
            op: O::NAME,
            case: name.to_owned(),
            microseconds: seconds.median * 1e6,
            spread: seconds.spread,
            bytes: cost.bytes,
            gigabytes_per_second: bytes / 1e9,
            percent_of_copy: 100.0 * bytes / self.ceilings.copy,
            operations: cost.ops,
            teraflops: ops / 1e12,
            percent_of_matmul: 100.0 * ops / self.ceilings.matmul,
            device: self.backend.name(),
        });
        Ok(())
    }
}

/// Which test cases of an op are timed.
fn cases<O: Op>(all: bool) -> Vec<Case<O>> {
    let mut cases = O::cases();
    let cost = |case: &Case<O>| case.op.cost().bytes + case.op.cost().ops;
    if !all {
        cases.sort_by(|a, b| cost(b).total_cmp(&cost(a)));
        cases.truncate(1);
    }
    cases
}

/// Buffers of a test case.
fn given<B: Backend, O: Op>(backend: &B, case: &Case<O>) -> Result<Vec<B::Buffer>> {
    let buffer = |data: &Data| match data {
        Data::Words(words) => upload_new(backend, O::NAME, words),
        Data::Out(words) => backend.alloc(O::NAME, *words),
    };
    case.data.iter().map(buffer).collect()
}

/// Buffers of a case of realistic size.
fn made<B: Backend, O: Op>(backend: &B, case: &BenchCase<O>) -> Result<Vec<B::Buffer>> {
    let buffer = |(seed, (made, words)): (u32, (&Made, usize))| {
        if let Made::Words(words) = made {
            return upload_new(backend, O::NAME, words);
        }
        let buffer = backend.alloc(O::NAME, words)?;
        if let Some(noise) = Noise::made(made, words, seed) {
            block_on(backend, backend.run(&noise, &[&buffer]))?;
        }
        Ok(buffer)
    };
    let all = case.data.iter().zip(case.op.lengths());
    (1..).zip(all).map(buffer).collect()
}
