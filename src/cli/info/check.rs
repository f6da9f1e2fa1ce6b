//! `info --check`: every op's cases on the chosen device, compared with the reference.

use crate::backend::{Backend, block_on, self_test};
use crate::cli::device::Task;
use crate::cli::out;
use crate::error::Result;

/// Runs all cases of all ops; the backend is the lockstep twin, which does the comparing.
pub(super) struct SelfTest;

impl Task for SelfTest {
    type Output = ();

    fn run<B: Backend>(self, backend: &B) -> Result<()> {
        let (mut ops, mut cases) = (0, 0);
        let mut without = Vec::new();
        block_on(
            backend,
            self_test(backend, &mut |tested| {
                match tested.runs {
                    true => ops += 1,
                    false => without.push(tested.op),
                }
                cases += tested.cases;
                tested.result // the first failure ends the walk
            }),
        )?;
        if !without.is_empty() {
            let (count, names) = (without.len(), without.join(", "));
            out::note(&format!(
                "{count} ops need more than this device has: {names}"
            ));
        }
        out::print(&format!(
            "{ops} ops, {cases} cases: every result agrees with the reference\n"
        ))
    }
}
