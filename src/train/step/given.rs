//! Residual streams that are known before a step: what a head reads, and a teacher's last ones.

use super::scope::Scope;
use crate::backend::Backend;
use crate::error::{Error, Result};

/// Residual streams that are known of the sequences of a step, [length, hidden] f32 each, in their order.
#[derive(Debug)]
pub struct Given<'a, B: Backend> {
    /// What enters a head that is trained by itself; nothing where tokens are embedded.
    pub inputs: &'a [&'a B::Buffer],
    /// What enters the head of the teacher; nothing where the teacher reads the tokens.
    pub teacher: &'a [&'a B::Buffer],
}

impl<B: Backend> Given<'_, B> {
    /// Nothing is known.
    pub const NOTHING: Self = Self {
        inputs: &[],
        teacher: &[],
    };

    /// Refuses what does not fit `n_seqs` sequences of a step within `scope`.
    pub(super) fn check(&self, scope: Scope, n_seqs: usize, taught: bool) -> Result<()> {
        let (inputs, teacher) = match scope {
            Scope::Whole => (0, 0),
            Scope::Block(_) => {
                return Err(Error::usage(
                    "a block that reads tokens",
                    "train it towards residual streams",
                ));
            }
            Scope::Head => (n_seqs, if taught { n_seqs } else { 0 }),
            Scope::Scales => (0, if taught { n_seqs } else { 0 }),
        };
        if (self.inputs.len(), self.teacher.len()) != (inputs, teacher) {
            return Err(Error::usage(
                format!(
                    "{} and {} residual streams for {n_seqs} texts where {inputs} and {teacher} are needed",
                    self.inputs.len(),
                    self.teacher.len()
                ),
                "give one for every text",
            ));
        }
        Ok(())
    }

    /// Those of some sequences.
    pub(super) fn of(&self, seqs: std::ops::Range<usize>) -> Self {
        Self {
            inputs: self.inputs.get(seqs.clone()).unwrap_or_default(),
            teacher: self.teacher.get(seqs).unwrap_or_default(),
        }
    }
}
