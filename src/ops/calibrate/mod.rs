//! Calibrated quantization: the steps of error feedback on the widely-linear form that touch whole matrices.
//!
//! A weight is R [2n, 2m] or its complex parts U and W [n, m]; its inputs have the Hessian H [2m, 2m], the mean of
//! `x^T x` over tokens. [`CholeskyBlock`] factors H, [`PhaseFeedback`] chooses codes column by column so that later
//! columns make up for the errors of earlier ones, [`PhaseNearest`] chooses them one by one, and [`PhaseProject`] sums
//! what least-squares scales are solved from. [`crate::ops::memory::Gather`] brings columns into the order in which they are quantized.

pub mod axpy;
pub mod cholesky;
pub mod feedback;
pub mod nearest;
pub mod project;
mod search;

pub use axpy::Axpy;
pub use cholesky::CholeskyBlock;
pub use feedback::PhaseFeedback;
pub use nearest::PhaseNearest;
pub use project::PhaseProject;

use super::*;
use crate::codebook;
use crate::ops::quantize::{Granularity, Piece, value};

/// Real columns that one block of the factorization and of the feedback has.
pub const BLOCK: usize = 32;
