//! Activation functions of feed-forward layers.

mod gate;
mod soft_cap;
mod squared_relu_glu;
mod swiglu;

pub use gate::Gate;
pub use soft_cap::*;
pub use squared_relu_glu::*;
pub use swiglu::*;
