//! Quantization-aware training: forward, loss, backward and AdamW, all on the device.
//!
//! The backward pass mirrors the forward pass block by block, written out: there is no tape. Linear layers are
//! quantized anew from their masters each step; the quantizer has no gradient of its own (`dL/dR = dL/dR_q`, the
//! straight-through estimator of arXiv 2512.02901, section 4). Everything is summed in a fixed order, so that a step
//! repeated on the same device has the same bits.

mod attention;
mod block;
mod formats;
mod given;
mod head;
mod memory;
mod options;
mod parameters;
mod product;
mod quantizer;
pub mod schedule;
mod scope;
mod scratch;
mod state;
mod teacher;
mod trainer;
mod update;

pub use crate::files::run::Part;
pub use formats::{Masters, Moments};
pub use given::Given;
pub use memory::Memory;
pub use options::{Batch, Betas, TrainOptions};
pub use parameters::{Kind, Parameter};
pub use scope::Scope;
pub use state::Progress;
pub use trainer::{StepReport, Trainer};
