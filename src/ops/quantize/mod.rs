//! From numbers to codes: of activations (one scale a token) and of weights (the phase quantizer, the papers' baselines),
//! and what weights and activations go through before.

mod activation;
mod baseline;
mod hadamard;
mod quantizer;
mod widely_linear;

pub use activation::*;
pub use baseline::*;
pub use hadamard::*;
pub use quantizer::*;
pub use widely_linear::*;
