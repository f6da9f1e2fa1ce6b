//! Calibrated quantization: the steps of error feedback on the widely-linear form that touch whole matrices.
//!
//! A weight is R [2n, 2m] or its complex parts U and W [n, m]; its inputs have the Hessian H [2m, 2m], the mean of
//! `x^T x` over tokens. [`CholeskyBlock`] factors H, [`PhaseFeedback`] chooses codes column by column so that later
//! columns make up for the errors of earlier ones, [`PhaseNearest`] chooses each by itself, and [`PhaseProject`] makes the
//! sums from which least-squares scales are solved. [`crate::ops::memory::Gather`] brings columns into the order in which
//! they are quantized.

mod axpy;
mod cases;
mod cholesky_block;
mod phase_feedback;
mod phase_nearest;
mod phase_project;
mod search;

pub use axpy::{Axpy, AxpyParams};
pub use cholesky_block::{CholeskyBlock, CholeskyBlockParams};
pub use phase_feedback::{PhaseFeedback, PhaseFeedbackParams};
pub use phase_nearest::PhaseNearest;
pub use phase_project::PhaseProject;

/// Real columns that one block of the factorization and of the feedback has.
pub const BLOCK: usize = 32;
