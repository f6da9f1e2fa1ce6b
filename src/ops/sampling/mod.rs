//! What becomes of logits: penalties, the greatest, the greatest few, a sample, a likelihood.
//!
//! Every op takes rows of logits, one for each token, and what it makes of a row depends on that row alone.

mod argmax;
mod count_tokens;
mod draw;
mod order;
mod penalize;
mod route;
mod sample;
mod sample_all;
mod token_nll;
mod top_k;

pub use argmax::*;
pub use count_tokens::*;
pub use draw::DrawSettings;
pub use penalize::*;
pub use route::*;
pub use sample::*;
pub use sample_all::*;
pub use token_nll::*;
pub use top_k::*;
