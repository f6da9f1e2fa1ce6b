//! How much one client may ask for, and how long it may take.

use std::time::Duration;

/// Bytes of a request's body.
pub(super) const BODY: usize = 4 << 20;
/// Lists, objects and strings of a body.
pub(super) const PARTS: usize = 100_000;
/// Bytes of a body that is too large, which are read nevertheless so that its sender gets to see why it is refused.
pub(super) const REFUSED_BODY: usize = 64 << 20;
/// Bytes of a request's line and headers.
pub(super) const HEAD: usize = 32 << 10;
/// Headers of a request.
pub(super) const HEADERS: usize = 100;
/// Connections at once: a new one then takes the place of the one that has been idle for longest. Many systems let a
/// process have 1024 open files, of which a model that is loaded again needs some.
pub(super) const CONNECTIONS: usize = 800;
/// Choices of a request: its prompts times `n`.
pub(super) const CHOICES: usize = 128;
/// Strings that may end a text.
pub(super) const STOPS: usize = 16;
/// Bytes of such a string.
pub(super) const STOP_BYTES: usize = 1024;
/// Tokens whose logits a request may change.
pub(super) const BIASES: usize = 1024;
/// Messages of a chat.
pub(super) const MESSAGES: usize = 4096;
/// Tasks at once that take a processor: texts to tokens, templates. A text takes 170 times its bytes while it is tokenized.
pub(super) const TASKS: usize = 2;
/// Bytes of a text that is tokenized for its own sake.
pub(super) const TEXT: usize = 64 << 10;
/// Tokens that are made a text for its own sake.
pub(super) const TOKENS: usize = 256 << 10;
/// Bytes of the beginning of a prompt that are tokenized first, to see whether all of it could fit the context; more where
/// the context is long.
pub(super) const BEGINNING: usize = 16 << 10;
/// Bodies up to this many bytes are read whenever they come.
pub(super) const SMALL_BODY: usize = 64 << 10;
/// Larger bodies that are in memory at once.
pub(super) const LARGE_BODIES: usize = 16;
/// How long a stream is silent before a comment says that it is alive.
pub(super) const SILENCE: Duration = Duration::from_secs(15);
/// How long after losing a device its next loss ends the program, counted from when the engine was ready again.
pub(super) const AGAIN: Duration = Duration::from_secs(60);
/// How long answers that were ended at a stop may take to reach their clients.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(2);
