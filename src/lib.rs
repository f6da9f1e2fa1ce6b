//! Large language models in {1, i, -1, -i} on any GPU: Fairy2i (arXiv 2512.02901) on compute shaders.
//!
//! A linear layer `y = R x` is rewritten as `y = U x + W conj(x)`; U and W are sums of stages whose elements are a
//! scale times a power of i. This crate quantizes LLaMA checkpoints that way, runs them, and checks every shader
//! against a plain reference.
//!
//! # Rooms
//! Imports point to the left only:
//! `error, random, quarter, fixed <- ops <- backend <- model <- files <- verbs`.
//!
//! - [`error`]: what went wrong, where, what to do.
//! - [`random`]: the one generator of random numbers, whose bits are documented.
//! - [`quarter`]: the codebook and its packing. [`fixed`]: arithmetic with the same bits on every device.
//! - [`ops`]: what is computed: one declaration per operation, one list of all of them.
//! - [`backend`]: where it runs: CPU, GPU, or both in lockstep. Only `backend::gpu` names wgpu.
//! - [`model`]: in which order: quantizing, forward pass, sampling. Generic over the backend, opens no file.
//! - [`files`]: in what bytes: safetensors, Hugging Face folders, the packed format, tokenizers, training data, what a
//!   training run leaves behind. Knows no device.
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
//!
//! # Example
//! ```
//! use fairy2i_gpu::backend::Cpu;
//! use fairy2i_gpu::model::{LoadOptions, Model};
//! use fairy2i_gpu::ops::activation::Activations;
//!
//! let opened = fairy2i_gpu::files::open_source(fairy2i_gpu::builtin::source())?;
//! let options = LoadOptions {
//!     recipe: opened.weights.recipe(),
//!     activations: Activations::Int16,
//!     context: 64,
//!     batch: 16,
//!     kv: None,
//!     exact: false,
//! };
//! let weights = &*opened.weights;
//! let next = pollster::block_on(async {
//!     let model = Model::load(Cpu::new(), &opened.config, weights, options, &mut |_| {}).await?;
//!     let mut session = model.session()?;
//!     session.feed(&[1, 1858, 617, 261, 604]).await?; // "Once upon a time"
//!     session.argmax().await
//! })?;
//! assert_eq!(next, 14); // ","
//! # Ok::<(), fairy2i_gpu::Error>(())
//! ```

pub mod backend;
pub mod builtin;
pub mod docs;
pub mod error;
pub mod files;
pub mod fixed;
pub mod generate;
pub mod model;
pub mod ops;
pub mod quarter;
pub mod random;
#[cfg(feature = "cli")]
pub mod verbs;

pub use backend::{Device, DeviceChoice, DeviceFacts, DeviceOptions};
pub use error::{Error, Result};
pub use files::Tokenizer;
pub use generate::{
    Batch, Finish, Generate, Generator, Model, ModelFiles, Options, Piece, Prompt, Timings,
};
pub use model::Sampling;
