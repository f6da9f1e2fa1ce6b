//! Quantization-aware training: forward, loss, backward and AdamW, all on the device.
//!
//! The backward pass mirrors the forward pass block by block, written out: there is no tape. Linear layers are
//! quantized anew from their masters each step; the quantizer has no gradient of its own (`dL/dR = dL/dR_q`, the
//! straight-through estimator of arXiv 2512.02901, section 4). Everything is summed in a fixed order, so that a step
//! repeated on the same device has the same bits.

mod adamw;
mod among;
mod attention;
mod block;
mod branch;
mod departure;
mod distill;
mod extra;
mod formats;
mod given;
mod head;
mod memory;
mod options;
mod parameters;
mod precision;
mod product;
mod progress;
mod quantizer;
pub mod schedule;
mod scope;
mod scratch;
mod shard;
mod state;
mod teacher;
mod tensors;
mod towards;
mod trainer;
mod update;

pub use crate::files::run::Part;
pub use among::Among;
pub use departure::Times;
pub use given::Given;
pub use memory::Memory;
pub use options::{Batch, Betas, TrainOptions};
pub use parameters::{Kind, Parameter};
pub use precision::{Masters, Moments};
pub use progress::Progress;
pub use scope::Scope;
pub use shard::Shard;
pub use trainer::{StepReport, Trainer};
