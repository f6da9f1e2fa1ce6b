//! A run, and who makes it.

use crate::ranks::Ranks;
use crate::train::Job;

/// A run with all its settings, as one rank of those that make it sees it.
pub(super) struct Run<'r> {
    pub job: Job,
    pub ranks: &'r dyn Ranks,
}

impl std::ops::Deref for Run<'_> {
    type Target = Job;

    fn deref(&self) -> &Job {
        &self.job
    }
}
