//! Text as training data: documents read from files, tokenized, packed into blocks, kept in mapped shards.
//!
//! A data folder holds `manifest.json` ([`Manifest`]) and shards: blocks of ids one after the other, nothing else.
//! [`Corpus`] reads it; [`Order`] says in which order:
//!
//! ```no_run
//! use fairy2i_gpu::files::corpus::{Corpus, Order};
//! let corpus = Corpus::open("DATA")?;
//! let mut order = Order::new(42); // all of the state: serialize it with a checkpoint
//! while let Some(index) = order.next(corpus.blocks()) {
//!     let block = corpus.block(index)?; // ids, and labels with -100 where no loss is taken
//! #   let _ = block; break;
//! }
//! # Ok::<(), fairy2i_gpu::Error>(())
//! ```

#[cfg(feature = "text")]
mod archive;
pub mod encoder;
pub mod journal;
#[cfg(feature = "text")]
mod json_line;
pub mod manifest;
#[cfg(feature = "text")]
pub mod objects;
pub mod order;
pub mod packing;
#[cfg(feature = "text")]
mod pieces;
pub(in crate::files) mod reader;
#[cfg(feature = "text")]
mod record;
#[cfg(feature = "text")]
pub mod records;
#[cfg(feature = "parquet")]
mod rows;
pub mod shards;
#[cfg(feature = "text")]
pub mod texts;
mod tokens;
pub mod words;

pub use manifest::{Manifest, TextUnit};
pub use order::Order;
pub use packing::{IGNORED, Packing};
pub use reader::{Block, Corpus};
pub use tokens::TextTokenizer;
