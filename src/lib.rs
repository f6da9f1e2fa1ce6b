//! Run and train two-bit large language models on any GPU, or on the CPU.
//!
//! The weights of linear layers are powers of i, {1, i, -1, -i}, times a few scales (Fairy2i, arXiv 2512.02901): a layer
//! `y = R x` is rewritten as `y = U x + W conj(x)`, and U and W are sums of stages of such weights, two bits each. This
//! crate quantizes LLaMA checkpoints that way, trains them, runs them, and checks every shader against a plain reference.
//! iFairy (arXiv 2508.05571), complex throughout, is its second family: [`docs::ifairy`].
//!
//! | I want to | then see |
//! |---|---|
//! | run a model | the example below; [`Model`], [`Generate`], [`Generator`], [`Batch`] |
//! | serve many | [`generate::scheduler`]; over HTTP: `fairy2i-gpu serve` |
//! | choose a device | [`Device`], [`DeviceChoice`]; what it can do: [`DeviceFacts`] |
//! | quantize or export a folder | [`convert`], with a text in sight [`quantize`]; one weight: [`model::quantize()`](fn@model::quantize) |
//! | read or write model folders | [`files`], [`files::packed`] for the format |
//! | train | [`train`], [guide](docs::training), [data](docs::data); one step: [`train::step::Trainer`] |
//! | add a kernel | [`ops`], [architecture](docs::architecture) |
//! | know what agrees bit for bit | [exactness](docs::exactness) |
//! | look inside a model's weights | `evaluate::analysis`, [quality](docs::quality) |
//! | know how fast it is | [performance](docs::performance), [lab notes](docs::lab_notes) |
//! | use the program | [all commands](docs::commands) |
//!
//! # Example
//! ```
//! use fairy2i_gpu::{Device, Generate, Model, Options};
//! use std::io::Write;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = Device::auto()?; // a GPU, or else the CPU; or "cpu".parse()?, "nvidia".parse()?
//! let model = Model::builtin()?.load(&device, Options::default())?; // or Model::open("folder")?
//! let mut text = model.generate("Once upon a time", Generate::default())?;
//! for piece in text.by_ref() {
//!     print!("{}", piece?);
//!     std::io::stdout().flush()?;
//! }
//! println!("\n{:?}, {:?} tokens/s", text.finish(), text.timings().decode_tokens_per_second());
//! # Ok(())
//! # }
//! ```
//!
//! The same without blocking, several texts at once, quantizing and training: `tools/examples` in the repository.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `cli` | yes | the program: arguments, progress bars, the user's folders; all features below but `serve` |
//! | `blocking` | with `cli` | calls that wait for the device on the calling thread, which browsers do not have |
//! | `threads` | with `cli` | worker threads of the CPU backend |
//! | `mmap` | with `cli` | memory-mapped checkpoints; without it files come as bytes |
//! | `train` | with `cli` | training runs: steps, records, checkpoints |
//! | `evaluate` | with `cli` | judging a model: a look inside its weights |
//! | `serve` | yes | the program's HTTP server |
//! | `templates` | with `cli` | chat templates |
//! | `grammar` | with `cli` | texts that are held to a JSON schema |
//! | `translate` | with `cli` | what a device gets for each kernel, as SPIR-V, MSL, HLSL and WGSL |
//! | `text` | with `cli` | training data from .gz and .zst |
//! | `parquet` | with `cli` | training data from .parquet |
//! | `records` | with `cli` | configuration files and plots of training runs |
//! | `web` | no | in browsers (wasm32 alone): what JavaScript calls, for the page and the package: [browser](docs::browser) |
//! | `mpi` | no | several GPUs and machines: [clusters](docs::clusters); needs an MPI, a C compiler and libclang |
//!
//! Without default features the library compiles for `wasm32-unknown-unknown`. The default build needs Rust alone: no C
//! compiler and no system library; drivers are found when the program runs.
//!
//! # Rooms
//! Imports point to the left only, which a test checks:
//! `error, units, random, codebook, fixed <- ops <- backend <- ranks <- model <- files <- builtin <- generate <- convert
//! <- evaluate <- train <- quantize <- cli, web`.
//!
//! - [`error`]: what went wrong, where, what to do. [`units`]: numbers for people.
//! - [`random`]: the one generator of random numbers, whose bits are documented.
//! - [`codebook`]: {1, i, -1, -i} and its packing. [`fixed`]: arithmetic with the same bits on every device.
//! - [`ops`]: what is computed: one declaration per operation, one list of all of them.
//! - [`backend`]: where it runs: CPU, GPU, or both in lockstep. Only `backend::gpu` names wgpu.
//! - [`ranks`]: with whom: processes that train together, and what they tell each other.
//! - [`model`]: in which order: quantizing one weight, forward pass, sampling. Generic over the backend, opens no file.
//! - [`files`]: in what bytes: safetensors, Hugging Face folders, the packed format, tokenizers, training data, what a
//!   training run leaves behind. Knows no device. [`builtin`]: the model inside.
//! - [`generate`]: until when: a prompt becomes a text. `convert`: a folder becomes another one. `evaluate`: what a
//!   model is worth, and what is inside. [`train`]: one step, and a run of many. [`quantize`]: codes that were chosen
//!   with a text in sight. They tell their callers what happens, and print nothing.
//! - `cli` (feature `cli`): for whom: the program. Only here are arguments read and anything printed.
//! - `web` (feature `web`, wasm32): for whom, in a browser: bindings, the package around them, the page.
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
//! Models of other families, a backward pass of the quantizer (its absence is the straight-through
//! estimator), kernels in a vendor's own language, C code.

#![warn(missing_docs, unreachable_pub)]
#![deny(unsafe_code)] // allowed where it is needed, each time with the reason

pub mod backend;
pub mod builtin;
#[cfg(feature = "cli")]
#[doc(hidden)] // the program: nothing of it is an interface
#[allow(missing_docs)]
pub mod cli;
pub mod codebook;
#[cfg(feature = "blocking")]
pub mod convert;
pub mod docs;
pub mod error;
#[cfg(feature = "evaluate")]
pub mod evaluate;
pub mod files;
pub mod fixed;
pub mod generate;
pub mod model;
pub mod ops;
#[cfg(feature = "blocking")]
pub mod quantize;
pub mod random;
pub mod ranks;
pub mod train;
pub mod units;
#[cfg(all(feature = "web", target_arch = "wasm32"))]
pub mod web;

pub use backend::{Device, DeviceChoice, DeviceFacts, DeviceOptions};
pub use error::{Error, Result};
pub use files::Tokenizer;
pub use generate::{
    Batch, Finish, Generate, Generator, Model, ModelFiles, Options, Piece, Prompt, Timings,
};
pub use model::Sampling;
