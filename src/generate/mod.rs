//! Until when: a prompt becomes tokens, tokens become text, and the text ends.
//!
//! - [`ModelFiles`]: a model's files, opened and checked; [`Model`]: the same model on a device.
//! - [`Generator`]: the text that follows a prompt, piece by piece: an iterator, or [`Generator::next_piece`] for those
//!   who must not block. [`Batch`]: several sequences at once.
//! - `Chat` (feature `templates`): answers of a conversation, what came before is computed once.
//! - `Grammar` (feature `grammar`): which tokens may follow where a text must be JSON of a schema.
//! - [`Generate`]: how long a text may become and how its tokens are chosen. [`Finish`]: why it ended.

mod batch;
#[cfg(feature = "templates")]
mod chat;
mod fitting;
mod generator;
#[cfg(feature = "grammar")]
mod grammar;
mod loading;
pub(crate) mod lookup;
mod model;
mod options;
pub mod scheduler;
mod sequence;
pub mod stop;

pub use batch::Batch;
#[cfg(feature = "templates")]
pub use chat::Chat;
pub use generator::Generator;
#[cfg(feature = "grammar")]
pub use grammar::{Grammar, Vocabulary};
pub use model::{Model, ModelFiles};
#[cfg(feature = "cli")]
pub(crate) use model::{encode, new_tokens};
pub use options::{Generate, Options, Prompt};
pub use sequence::{Finish, Piece, Timings};
