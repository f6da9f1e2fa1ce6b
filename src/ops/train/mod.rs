//! What training needs beyond inference: matrix products in all their forms, the gradients of every op of a block,
//! the loss, and the optimizer.
//!
//! Every sum has a fixed order, so that a step repeated on the same device has the same bits; there are no atomics.
//! The quantizer has no gradient of its own: its absence is the straight-through estimator.

use super::*;

pub mod bf16;
pub mod blend;
pub mod block8;
pub mod coop;
pub mod distill;
pub mod embed;
pub mod fill;
pub mod halve;
pub mod loss;
pub mod matmul;
pub mod norm;
pub mod optimizer;
pub mod rope;
pub mod scales;
pub mod softmax;
pub mod swiglu;

/// Elements that one workgroup of an element-wise kernel covers.
const WIDTH: usize = 256;

/// Workgroups for so many elements.
pub(super) fn element_wise(elements: usize) -> Grid {
    Grid {
        groups: elements.div_ceil(WIDTH) as u32,
        batch: 1,
    }
}
