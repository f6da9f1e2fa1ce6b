//! What training needs beyond inference: matrix products in all their forms, the gradients of every op of a block,
//! the loss, and the optimizer.
//!
//! Every sum has a fixed order, so that a step repeated on the same device has the same bits; there are no atomics.
//! The quantizer has no gradient of its own: its absence is the straight-through estimator.

use super::*;

pub mod bf16;
pub mod block8;
pub mod coop;
pub mod distill;
pub mod embed;
pub mod lerp;
pub mod loss;
pub mod matmul;
pub mod norm;
pub mod optimizer;
pub mod rope_in_place;
pub mod scales;
pub mod softmax;
pub mod swiglu;
