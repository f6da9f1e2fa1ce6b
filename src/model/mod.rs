//! The LLaMA family on any backend: configuration, weights, quantizing, forward pass, sampling.

pub mod config;
pub mod finite;
pub(crate) mod forward;
pub(crate) mod linear;
pub(crate) mod load;
pub mod memory;
pub mod quantize;
pub mod rope;
mod rows;
pub mod sampling;
pub mod session;
mod stages;
pub mod tap;
pub mod weights;

pub use config::{Config, Rope, RopeScaling};
pub use forward::{LoadOptions, Model};
pub use memory::Memory;
pub use quantize::{Granularity, Method, Mixed, Packed, PackedView, Recipe, dequantize, quantize};
pub use sampling::{Sampler, Sampling, Wants};
pub use session::{Choice, MAX_DRAFTED, MAX_TOP_K, Scored, Scorer, Segment, Session, Speculation};
pub use stages::FirstStages;
pub use weights::{Dtype, Tensor, Weights};
