//! What becomes of logits: the greatest, the greatest few, a sample, a likelihood.
//!
//! Every op takes rows of logits, one for each token, and what it makes of a row depends on that row alone.

mod argmax;
mod order;
mod sample;
mod token_nll;
mod top_k;

pub use argmax::*;
pub use sample::*;
pub use token_nll::*;
pub use top_k::*;
