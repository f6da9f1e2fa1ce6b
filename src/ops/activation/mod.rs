//! Activation functions of feed-forward layers.

mod gate;
mod swiglu;

pub use gate::Gate;
pub use swiglu::*;
