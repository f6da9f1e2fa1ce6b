//! How good a model is: perplexity of texts, multiple-choice tasks, what its weights look like, and what rounding did to
//! it.
//!
//! ```no_run
//! use fairy2i_gpu::evaluate::{self, Cutting, Protocol, Words, protocol};
//! use fairy2i_gpu::{Device, Model, Options};
//! let files = Model::open("llama-folder")?;
//! let cutting = Cutting { protocol: Protocol::Blocks, length: 512, stride: 256 };
//! let texts = protocol::open(&["wiki.test.raw".into()], cutting, &Words::of(files.opened())?)?;
//! let device = Device::auto()?;
//! let model = files.load(&device, Options { context: Some(512), batch: 2048, ..Options::default() })?;
//! let mut progress = |tokens| eprintln!("{tokens} tokens");
//! let run = evaluate::perplexity(model.inner(), None, &texts[0], &mut progress);
//! let measured = fairy2i_gpu::backend::block_on(&device, run)?;
//! println!("{:.4}", measured.summary().ppl);
//! # Ok::<(), fairy2i_gpu::Error>(())
//! ```
//!
//! Everything is measured by one instrument, [`crate::model::Scorer`]: the log-likelihood of given tokens, many
//! sequences in one pass over the weights.

pub mod analysis;
pub mod difference;
pub mod divergence;
mod mean;
mod perplexity;
pub mod protocol;
pub mod tasks;

pub use difference::Difference;
pub use divergence::Divergence;
pub use perplexity::{Measured, Summary, perplexity, perplexity_among};
pub use protocol::{Cutting, Protocol, Text, Words};
