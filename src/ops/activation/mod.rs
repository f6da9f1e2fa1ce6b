//! Activation functions of feed-forward layers.

mod swiglu;

pub use swiglu::*;
