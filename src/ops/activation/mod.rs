//! What stands between two products of a feed-forward layer.

mod swiglu;

pub use swiglu::*;
