//! Activation functions of feed-forward layers.

mod gate;
mod squared_relu_glu;
mod swiglu;

pub use gate::Gate;
pub use squared_relu_glu::*;
pub use swiglu::*;
