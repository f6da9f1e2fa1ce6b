//! Judging a model: what its weights look like, and what quantizing costs.

pub mod analysis;
