//! Until when: a prompt becomes tokens, tokens become text, and the text ends.
//!
//! - [`ModelFiles`]: a model's files, opened and checked; [`Model`]: the same model on a device.
//! - [`Generator`]: the text that follows a prompt, piece by piece: an iterator, or [`Generator::next_piece`] for those
//!   who must not block. [`Batch`]: several sequences at once.
//! - [`Generate`]: how long a text may become and how its tokens are chosen. [`Finish`]: why it ended.

mod batch;
mod generator;
mod model;
mod options;
mod sequence;
pub mod stop;

pub use batch::Batch;
pub use generator::Generator;
#[cfg(feature = "cli")]
pub(crate) use model::new_tokens;
pub use model::{Model, ModelFiles};
pub use options::{Generate, Options, Prompt};
pub use sequence::{Finish, Piece, Timings};
