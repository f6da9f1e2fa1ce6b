//! Models on any backend: configuration, weights, quantizing, forward pass, sampling.

pub mod autotune;
pub mod blueprint;
pub(crate) mod budget;
mod choice;
pub mod config;
pub mod finite;
pub(crate) mod forward;
pub(crate) mod kv_cache;
pub(crate) mod linear;
pub(crate) mod load;
pub(crate) mod loaded;
pub mod memory;
pub(crate) mod options;
mod pipeline;
pub mod quantize;
pub mod rope;
mod ropes;
mod rows;
pub mod sampling;
pub mod session;
mod stages;
mod synthetic;
pub mod tap;
mod variant;
pub mod weights;

pub use choice::{MAX_TOP_K, Sampling};
pub use config::{Config, LongRope, Rope, RopeScaling, Yarn, refuse_complex, refuse_experts};
pub use kv_cache::KvCache;
pub use loaded::Model;
pub use memory::Memory;
pub use options::LoadOptions;
pub use pipeline::Pipeline;
pub use quantize::{
    Form, Granularity, Method, Mixed, Packed, PackedView, Recipe, dequantize, quantize,
};
pub use sampling::{Sampler, Wants};
pub use session::{
    Choice, Feed, Logprobs, MAX_DRAFTED, Scored, Scorer, Segment, Session, Speculation,
};
pub use stages::FirstStages;
pub use variant::{Experts, LayerAttention, Rotary, Variant};
pub use weights::{Dtype, Tensor, Weights};
