//! `info --check`: every op's cases on the chosen device, compared with the reference.

use crate::backend::{Backend, block_on, upload_new};
use crate::cli::device::Task;
use crate::cli::out;
use crate::error::Result;
use crate::ops::{Case, Data, Op, Visitor, for_each};

/// Runs all cases of all ops; the backend is the lockstep twin, which does the comparing.
pub(super) struct SelfTest;

struct Walk<'a, B> {
    backend: &'a B,
    ops: usize,
    cases: usize,
    /// Ops the device has no kernel for.
    without: Vec<&'static str>,
    failure: Result<()>,
}

impl Task for SelfTest {
    type Output = ();

    fn run<B: Backend>(self, backend: &B) -> Result<()> {
        let mut walk = Walk {
            backend,
            ops: 0,
            cases: 0,
            without: Vec::new(),
            failure: Ok(()),
        };
        for_each(&mut walk);
        walk.failure?;
        if !walk.without.is_empty() {
            let (count, names) = (walk.without.len(), walk.without.join(", "));
            out::note(&format!(
                "{count} ops need more than this device has: {names}"
            ));
        }
        out::print(&format!(
            "{} ops, {} cases: every result agrees with the reference\n",
            walk.ops, walk.cases
        ))
    }
}

impl<B: Backend> Visitor for Walk<'_, B> {
    fn visit<O: Op>(&mut self) {
        if !self.backend.runs::<O>() {
            self.without.push(O::NAME);
            return;
        }
        for case in O::cases() {
            if self.failure.is_err() {
                return;
            }
            self.backend.scope(&|| format!("case `{}`", case.name()));
            self.failure = block_on(self.backend, run_case(self.backend, &case));
            self.cases += 1;
        }
        self.ops += 1;
    }
}

async fn run_case<B: Backend, O: Op>(backend: &B, case: &Case<O>) -> Result<()> {
    let mut buffers = Vec::new();
    for data in &case.data {
        buffers.push(match data {
            Data::Words(words) => upload_new(backend, O::NAME, words)?,
            Data::Out(words) => backend.alloc(O::NAME, *words)?,
        });
    }
    let buffers: Vec<_> = buffers.iter().collect();
    backend.run(&case.op, &buffers).await
}
