//! Large language models in {1, i, -1, -i} on any GPU: Fairy2i (arXiv 2512.02901) on compute shaders.
//!
//! A linear layer `y = R x` is rewritten as `y = U x + W conj(x)`; U and W are sums of stages whose elements are a
//! scale times a power of i. This crate quantizes LLaMA checkpoints that way, runs them, and checks every shader
//! against a plain reference.
//!
//! # Rooms
//! Imports point to the left only:
//! `error, quarter, fixed <- ops <- backend <- model <- files <- verbs`.
//!
//! - [`error`]: what went wrong, where, what to do.
//! - [`quarter`]: the codebook and its packing. [`fixed`]: arithmetic with the same bits on every device.
//! - [`ops`]: what is computed: one declaration per operation, one list of all of them.
//! - [`backend`]: where it runs: CPU, GPU, or both in lockstep. Only `backend::gpu` names wgpu.
//! - [`model`]: in which order: quantizing, forward pass, sampling. Generic over the backend, opens no file.
//! - [`files`]: in what bytes: safetensors, Hugging Face folders, the packed format, tokenizers. Knows no device.
//! - `verbs` (feature `cli`): for whom: the program. Only here is anything printed or the clock read.
//!
//! # Invariants
//! - Integer operations, and all of quantizing, give the same bits on every adapter ([`ops::Agree::Bits`]); the
//!   others state a bound, which is never widened to make a test pass.
//! - A reference never calls another operation and never copies a shader's tiling.
//! - Deliberately absent: a second copy of the model, shader templates, float atomics.
//!
//! The library compiles for wasm32: reading back from a device is async and never blocks, files come as bytes
//! ([`files::Source`]), threads and memory maps are features.

pub mod backend;
pub mod error;
pub mod files;
pub mod fixed;
pub mod model;
pub mod ops;
pub mod quarter;

pub use error::{Error, Result};
