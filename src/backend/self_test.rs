//! Every op's own cases on a device: what `info --check` runs, and the button of the page in the browser.

use super::backend::{Backend, kernel_for, upload_new};
use crate::error::Result;
use crate::ops::{Agree, Case, Data, Op, Visitor, for_each};
use std::pin::Pin;

/// What became of the cases of one op.
#[derive(Debug)]
pub struct Tested {
    /// [`Op::NAME`].
    pub op: &'static str,
    /// Whether the device runs it: GPUs run the ops that they have a kernel for.
    pub runs: bool,
    /// The kernel that a GPU with the device's features takes.
    pub kernel: Option<&'static str>,
    /// How closely its results must agree.
    pub agree: Agree,
    /// Cases that ran, the one that failed included.
    pub cases: usize,
    /// The first failure.
    pub result: Result<()>,
}

type Testing<'a> = Pin<Box<dyn Future<Output = Tested> + 'a>>;

/// The walk over all ops gives functions: running them must be awaited, which a visitor cannot.
struct Collect<'a, B>(Vec<fn(&'a B) -> Testing<'a>>);

impl<B: Backend> Visitor for Collect<'_, B> {
    fn visit<O: Op>(&mut self) {
        self.0.push(|backend| Box::pin(test::<B, O>(backend)));
    }
}

/// Runs all cases of all ops on `backend`, which is a [`Lockstep`](super::Lockstep) twin: that does the comparing. `heard` is
/// told of every op, and ends the walk by an error.
///
/// # Errors
/// Those of `heard`.
pub async fn self_test<B: Backend>(
    backend: &B,
    heard: &mut dyn FnMut(Tested) -> Result<()>,
) -> Result<()> {
    let mut all = Collect(Vec::new());
    for_each(&mut all);
    for run in all.0 {
        heard(run(backend).await)?;
    }
    Ok(())
}

async fn test<B: Backend, O: Op>(backend: &B) -> Tested {
    let kernel = kernel_for::<O>(backend.facts().features);
    let mut tested = Tested {
        op: O::NAME,
        runs: backend.runs::<O>(),
        kernel: kernel.map(|shader| shader.stem),
        agree: O::AGREE,
        cases: 0,
        result: Ok(()),
    };
    if !tested.runs {
        return tested;
    }
    for case in O::cases() {
        backend.scope(&|| format!("case `{}`", case.name()));
        tested.cases += 1;
        tested.result = run_case(backend, &case).await;
        if tested.result.is_err() {
            break;
        }
    }
    tested
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
