//! A run whose folder is open.

use crate::files::run::RunFolder;
use crate::train::Job;

/// A run with all its settings.
pub(super) struct Run {
    pub folder: RunFolder,
    pub job: Job,
}

impl std::ops::Deref for Run {
    type Target = Job;

    fn deref(&self) -> &Job {
        &self.job
    }
}
