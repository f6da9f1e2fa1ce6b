//! Training: one step ([`step`]), and a run of many with its records and checkpoints ([`run`], feature `train`).

#[cfg(feature = "train")]
pub mod run;
pub mod step;

#[cfg(feature = "train")]
pub use run::*;
