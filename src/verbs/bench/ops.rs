//! `bench ops`: every op against the bytes it has to move.

use super::report::{self, Format};
use super::timing::measure;
use crate::backend::{Backend, upload_new};
use crate::error::{Error, Result};
use crate::ops::{Case, Data, Op, Visitor, copy::Copy, for_each};
use crate::verbs::device::Task;
use crate::verbs::out;
use serde::Serialize;

/// Words the bandwidth is measured with: far more than any cache holds.
const COPIED: usize = 64 << 20;
/// Bytes that the copies of a case's buffers should have together, so that no cache holds them all.
const SPREAD: usize = 256 << 20;
/// Most copies of a case's buffers; what is smaller than this allows lives in caches in real use too.
const COPIES: usize = 32;

/// Times ops.
pub struct OpsBench {
    /// Only ops whose name contains this.
    pub op: String,
    /// Every case instead of the most expensive one of each op.
    pub all: bool,
    /// How to print.
    pub format: Format,
    /// Whether a person watches.
    pub progress: bool,
}

#[derive(Serialize)]
struct Row {
    op: &'static str,
    case: String,
    device: String,
    /// Median seconds of one run, times a million.
    microseconds: f64,
    spread: f64,
    bytes: f64,
    gigabytes_per_second: f64,
    giga_operations_per_second: f64,
    /// Bytes per second in percent of what a copy reaches.
    percent_of_copy: f64,
}

struct Walk<'a, B> {
    backend: &'a B,
    bench: OpsBench,
    /// Bytes per second of a large copy.
    copy: f64,
    bar: indicatif::ProgressBar,
    rows: Vec<Row>,
    failure: Result<()>,
}

impl Task for OpsBench {
    type Output = ();

    fn run<B: Backend>(self, backend: &B) -> Result<()> {
        let format = self.format;
        let bar = out::progress(self.progress, 0);
        bar.set_message("copy");
        let (row, copy) = bandwidth(backend)?;
        let mut walk = Walk {
            backend,
            copy,
            bar,
            bench: self,
            rows: vec![row],
            failure: Ok(()),
        };
        for_each(&mut walk);
        walk.bar.finish_and_clear();
        walk.failure?;
        if walk.rows.len() == 1 && !walk.bench.op.is_empty() {
            return Err(Error::usage(
                format!("no op's name contains `{}`", walk.bench.op),
                "bench ops without --op lists them all",
            ));
        }
        let columns = [
            "op",
            "case",
            "microseconds",
            "spread",
            "gigabytes_per_second",
            "giga_operations_per_second",
            "percent_of_copy",
        ];
        report::print(&walk.rows, format, &columns)
    }
}

/// Times one large copy.
fn bandwidth<B: Backend>(backend: &B) -> Result<(Row, f64)> {
    let quads = COPIED.min(backend.max_words()) / 4;
    let op = Copy { quads };
    let data = vec![Data::Out(4 * quads); 2];
    let row = time(backend, &Case::new("bandwidth", op, data), None)?;
    let copy = row.gigabytes_per_second * 1e9;
    Ok((row, copy))
}

impl<B: Backend> Visitor for Walk<'_, B> {
    fn visit<O: Op>(&mut self) {
        if self.failure.is_err() || !O::NAME.contains(&self.bench.op) {
            return;
        }
        for case in cases::<O>(self.bench.all) {
            self.bar.set_message(format!("{}, {}", O::NAME, case.name));
            match time(self.backend, &case, Some(self.copy)) {
                Ok(row) => self.rows.push(row),
                Err(error) => self.failure = Err(error),
            }
        }
    }
}

/// What is timed of an op.
fn cases<O: Op>(all: bool) -> Vec<Case<O>> {
    let mut cases = O::cases();
    let cost = |case: &Case<O>| case.op.cost().bytes + case.op.cost().ops;
    if !all {
        cases.sort_by(|a, b| cost(b).total_cmp(&cost(a)));
        cases.truncate(1);
    }
    cases
}

fn time<B: Backend, O: Op>(backend: &B, case: &Case<O>, copy: Option<f64>) -> Result<Row> {
    let words: usize = case.op.lengths().iter().sum();
    let copies = (SPREAD / 4 / words.max(1)).clamp(1, COPIES);
    let sets = (0..copies)
        .map(|_| buffers(backend, case))
        .collect::<Result<Vec<_>>>()?;
    let sets: Vec<Vec<&B::Buffer>> = sets.iter().map(|s| s.iter().collect()).collect();
    let mut next = 0;
    let seconds = measure(backend, async || {
        next = (next + 1) % sets.len();
        backend.run(&case.op, &sets[next]).await
    })?;
    let cost = case.op.cost();
    let rate = cost.bytes / seconds.median;
    Ok(Row {
        op: O::NAME,
        case: case.name.clone(),
        device: backend.name(),
        microseconds: seconds.median * 1e6,
        spread: seconds.spread,
        bytes: cost.bytes,
        gigabytes_per_second: rate / 1e9,
        giga_operations_per_second: cost.ops / seconds.median / 1e9,
        percent_of_copy: 100.0 * rate / copy.unwrap_or(rate),
    })
}

fn buffers<B: Backend, O: Op>(backend: &B, case: &Case<O>) -> Result<Vec<B::Buffer>> {
    let buffer = |data: &Data| match data {
        Data::Words(words) => upload_new(backend, O::NAME, words),
        Data::Out(words) => backend.alloc(O::NAME, *words),
    };
    case.data.iter().map(buffer).collect()
}
