//! Run and train two-bit large language models on any GPU, or on the CPU.
//!
//! The weights of linear layers are powers of i, {1, i, -1, -i}, times a few scales (Fairy2i, arXiv 2512.02901): a layer
//! `y = R x` is rewritten as `y = U x + W conj(x)`, and U and W are sums of stages of such weights, two bits each. This
//! crate quantizes LLaMA checkpoints that way, trains them, runs them, and checks every shader against a plain reference.
//!
//! | I want to | then see |
//! |---|---|
//! | run a model | the example below; [`files::open`], [`model::Model`], [`model::Session`] |
//! | choose a device | [`backend::adapters`], [`backend::Gpu`], [`backend::Cpu`] |
//! | quantize a weight | [`model::quantize()`](fn@model::quantize) |
//! | read or write model folders | [`files`], [`files::packed`] for the format |
//! | train | [`model::train::Trainer`], [guide](docs::training), [data](docs::data) |
//! | add a kernel | [`ops`], [architecture](docs::architecture) |
//! | know what agrees bit for bit | [exactness](docs::exactness) |
//! | know how fast it is | [performance](docs::performance), [lab notes](docs::lab_notes) |
//! | use the program | [all commands](docs::commands) |
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
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `cli` | yes | the program: arguments, progress bars, the user's cache folder; all features below |
//! | `blocking` | with `cli` | calls that wait for the device on the calling thread, which browsers do not have |
//! | `threads` | with `cli` | worker threads of the CPU backend |
//! | `mmap` | with `cli` | memory-mapped checkpoints; without it files come as bytes |
//! | `text` | with `cli` | training data from .gz and .zst |
//! | `parquet` | with `cli` | training data from .parquet |
//! | `records` | with `cli` | configuration files and plots of training runs |
//!
//! Without default features the library compiles for `wasm32-unknown-unknown`. The default build needs Rust alone: no C
//! compiler and no system library; drivers are found when the program runs.
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
//! # Deliberately not here
//! Models of other families, GGUF files, a server, a backward pass of the quantizer (its absence is the straight-through
//! estimator), kernels in a vendor's own language, C code.

#![warn(missing_docs)]
#![deny(unsafe_code)] // allowed where it is needed, each time with the reason

pub mod backend;
pub mod builtin;
pub mod docs;
pub mod error;
pub mod files;
pub mod fixed;
pub mod model;
pub mod ops;
pub mod quarter;
#[cfg(feature = "cli")]
#[doc(hidden)] // the program: nothing of it is an interface
#[allow(missing_docs)]
pub mod verbs;

pub use error::{Error, Result};
