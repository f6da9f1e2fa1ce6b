//! The LLaMA family on any backend: configuration, weights, quantizing, forward pass, sampling.

pub mod config;
pub mod quantize;
pub mod sampling;
pub mod session;
pub mod weights;

pub use config::{Config, Rope, RopeScaling};
pub use quantize::{Granularity, Method, Packed, Recipe};
pub use session::{LoadOptions, Model, Session};
pub use weights::{Dtype, Tensor, Weights};
