//! `bench --profile`: where the time of a token goes, op by op.

use super::ceiling::Ceilings;
use super::model::{Subject, fill, once, prepare, warm_up};
use super::report::{self, Format};
use super::test::Test;
use crate::backend::{Backend, Timing, Wrapper, block_on};
use crate::cli::device::Task;
use crate::cli::out;
use crate::cli::timing::sync;
use crate::error::Result;
use crate::model::Session;
use crate::ops::Op;
use crate::ranks::One;
use serde::Serialize;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Instant;

/// Profiles a model.
pub(super) struct ProfileBench {
    /// The model.
    pub subject: Subject,
    /// What it does meanwhile.
    pub tests: Vec<Test>,
    /// How often: times are means.
    pub repetitions: usize,
    /// How to print.
    pub format: Format,
    /// Whether a person watches.
    pub progress: bool,
}

#[derive(Serialize)]
struct Row {
    test: String,
    op: String,
    /// The layers it belongs to, those of all blocks together.
    place: String,
    /// Runs per token.
    count: f64,
    microseconds_per_token: f64,
    /// Percent of all ops' time.
    share: f64,
    gigabytes_per_second: Option<f64>,
    percent_of_copy: Option<f64>,
    teraflops: Option<f64>,
    percent_of_matmul: Option<f64>,
    /// `device` (its timestamps) or `host`.
    clock: &'static str,
    device: String,
    model: String,
    version: &'static str,
}

const COLUMNS: [&str; 8] = [
    "test",
    "op",
    "place",
    "count",
    "microseconds_per_token",
    "share",
    "gigabytes_per_second",
    "percent_of_copy",
];

impl Task for ProfileBench {
    type Output = ();

    fn run<B: Backend>(self, backend: &B) -> Result<()> {
        let rows = if backend.profile(true)? {
            backend.profile(false)?;
            self.rows(backend, "device")?
        } else {
            self.rows(&HostClock::new(backend), "host")?
        };
        report::print(&rows, self.format, &COLUMNS)
    }
}

impl ProfileBench {
    fn rows<B: Backend>(&self, backend: &B, clock: &'static str) -> Result<Vec<Row>> {
        let bar = out::progress(self.progress, self.subject.config.linears().len());
        let model = self.subject.load(backend, None, &bar)?;
        let mut session = model.session()?;
        block_on(backend, prepare(&mut session, &self.tests))?;
        bar.set_message("ceilings");
        let ceilings = Ceilings::measure(backend)?;
        let mut rows = Vec::new();
        for &test in &self.tests {
            bar.set_message(test.name());
            let profiled = if test.streams == 1 {
                self.profile(backend, &mut session, test)?
            } else {
                self.profile(backend, &mut model.sessions(test.streams)?, test)?
            };
            rows.extend(self.table(test, profiled, ceilings, clock, &backend.name()));
        }
        bar.finish_and_clear();
        Ok(rows)
    }

    /// Times of all ops of all repetitions, and the seconds that passed meanwhile without profiling.
    fn profile<B: Backend>(
        &self,
        backend: &B,
        session: &mut Session<'_, &B>,
        test: Test,
    ) -> Result<(Vec<Timing>, f64)> {
        let vocab = self.subject.config.vocab;
        block_on(backend, warm_up(session, test, vocab, &One))?;
        let mut seconds = 0.0;
        for _ in 0..self.repetitions {
            block_on(backend, fill(session, test, vocab))?;
            let begun = Instant::now();
            block_on(backend, once(session, test, vocab))?;
            seconds += begun.elapsed().as_secs_f64();
        }
        let mut timings = Vec::new();
        for _ in 0..self.repetitions {
            block_on(backend, fill(session, test, vocab))?;
            backend.profile(true)?;
            block_on(backend, once(session, test, vocab))?;
            timings.extend(block_on(backend, backend.profiled())?);
            backend.profile(false)?;
        }
        Ok((timings, seconds))
    }

    fn table(
        &self,
        test: Test,
        (timings, seconds): (Vec<Timing>, f64),
        ceilings: Ceilings,
        clock: &'static str,
        device: &str,
    ) -> Vec<Row> {
        let tokens = (test.tokens() * test.streams * self.repetitions) as f64;
        let mut sums: BTreeMap<(&str, String), Sum> = BTreeMap::new();
        let mut total = Sum::default();
        for timing in &timings {
            let key = (timing.op, place(timing));
            sums.entry(key).or_default().add(timing);
            total.add(timing);
        }
        let mut order: Vec<_> = sums.into_iter().collect();
        order.sort_by(|a, b| b.1.nanoseconds.total_cmp(&a.1.nanoseconds));
        let row = |op: &str, place: String, sum: &Sum, rates: bool| {
            let rate = |work: f64| (rates && work > 0.0).then(|| work / sum.nanoseconds * 1e9);
            let (bytes, ops) = (rate(sum.bytes), rate(sum.ops));
            Row {
                test: test.name(),
                op: op.to_owned(),
                place,
                count: sum.count / tokens,
                microseconds_per_token: sum.nanoseconds / 1e3 / tokens,
                share: 100.0 * sum.nanoseconds / total.nanoseconds,
                gigabytes_per_second: bytes.map(|b| b / 1e9),
                percent_of_copy: bytes.map(|b| 100.0 * b / ceilings.copy),
                teraflops: ops.map(|f| f / 1e12),
                percent_of_matmul: ops.map(|f| 100.0 * f / ceilings.matmul),
                clock,
                device: device.to_owned(),
                model: self.subject.name.clone(),
                version: env!("CARGO_PKG_VERSION"),
            }
        };
        let lines = order.into_iter();
        let mut rows: Vec<Row> = lines
            .map(|((op, place), sum)| row(op, place, &sum, true))
            .collect();
        rows.push(row("all ops", String::new(), &total, true));
        let wall = Sum {
            nanoseconds: seconds * 1e9,
            ..Sum::default()
        };
        let unprofiled = "without profiling".to_owned();
        rows.push(row("wall clock", unprofiled, &wall, false));
        rows
    }
}

/// What runs of the same kind add up to.
#[derive(Default)]
struct Sum {
    count: f64,
    nanoseconds: f64,
    bytes: f64,
    ops: f64,
}

impl Sum {
    fn add(&mut self, timing: &Timing) {
        self.count += 1.0;
        self.nanoseconds += timing.nanoseconds;
        self.bytes += timing.cost.bytes;
        self.ops += timing.cost.ops;
    }
}

/// The layer of a product, the same for all blocks; other ops do one thing everywhere, and the model does not say
/// where for each of them.
fn place(timing: &Timing) -> String {
    let product = ["phase_", "matmul_", "act_"];
    if !product.iter().any(|p| timing.op.starts_with(p)) {
        return String::new();
    }
    let layers = timing.scope.split(" + ").map(|layer| {
        let short = layer
            .split('.')
            .skip_while(|part| part.parse::<usize>().is_err());
        let short: Vec<_> = short.skip(1).collect();
        if short.is_empty() {
            layer.to_owned()
        } else {
            short.join(".")
        }
    });
    layers.collect::<Vec<_>>().join(" + ")
}

/// A backend whose ops are timed on the host, each to its end.
struct HostClock<'b, B> {
    backend: &'b B,
    on: Cell<bool>,
    scope: RefCell<String>,
    timings: RefCell<Vec<Timing>>,
}

impl<'b, B: Backend> HostClock<'b, B> {
    fn new(backend: &'b B) -> Self {
        Self {
            backend,
            on: Cell::new(false),
            scope: RefCell::default(),
            timings: RefCell::default(),
        }
    }
}

impl<B: Backend> Wrapper for HostClock<'_, B> {
    type Inner = B;

    fn inner(&self) -> &B {
        self.backend
    }

    async fn run<O: Op>(&self, op: &O, buffers: &[&B::Buffer]) -> Result<()> {
        if !self.on.get() {
            return self.backend.run(op, buffers).await;
        }
        sync(self.backend)?;
        let begun = Instant::now();
        self.backend.run(op, buffers).await?;
        sync(self.backend)?;
        self.timings.borrow_mut().push(Timing {
            op: O::NAME,
            scope: self.scope.borrow().clone(),
            cost: op.cost(),
            nanoseconds: begun.elapsed().as_nanos() as f64,
        });
        Ok(())
    }

    fn profile(&self, on: bool) -> Result<bool> {
        self.on.set(on);
        Ok(true)
    }

    async fn profiled(&self) -> Result<Vec<Timing>> {
        Ok(self.timings.take())
    }

    fn scope(&self, name: &dyn Fn() -> String) {
        if self.on.get() {
            *self.scope.borrow_mut() = name();
        }
        self.backend.scope(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Cost;

    #[test]
    fn places_of_all_blocks_are_one() {
        let timing = |op, place: &str| Timing {
            op,
            scope: place.to_owned(),
            cost: Cost::default(),
            nanoseconds: 1.0,
        };
        let stack = "model.layers.31.mlp.gate_proj + model.layers.31.mlp.up_proj";
        let short = "mlp.gate_proj + mlp.up_proj";
        assert_eq!(place(&timing("phase_gemv", stack)), short);
        assert_eq!(place(&timing("phase_gemv", "lm_head")), "lm_head");
        assert_eq!(place(&timing("rope", stack)), "");
    }
}
