//! Products with dense matrices: f32, f16 or bf16 weights.

mod dense;
mod dense_coop;

pub use dense::*;
pub use dense_coop::*;
