//! What becomes of logits: the greatest, the greatest few, a sample, a likelihood.

mod nll;
mod sample;
mod select;

pub use nll::*;
pub use sample::*;
pub use select::*;
