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
mod perplexity;
pub mod protocol;
pub mod tasks;

pub use difference::Difference;
pub use divergence::Divergence;
pub use perplexity::{Measured, Summary, perplexity};
pub use protocol::{Cutting, Protocol, Text, Words};

/// The mean of `values`, `n` of them, and its standard error, sample standard deviation over `sqrt(n)`.
fn mean_and_error(values: impl Iterator<Item = f64> + Clone, n: usize) -> (f64, f64) {
    let count = n as f64;
    let mean = values.clone().sum::<f64>() / count;
    let squares: f64 = values.map(|v| (v - mean) * (v - mean)).sum();
    // With one value nothing is known of the error.
    let error = (squares / (count - 1.0).max(0.0) / count).sqrt();
    (mean, if n > 1 { error } else { f64::NAN })
}
