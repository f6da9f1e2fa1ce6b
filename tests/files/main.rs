//! Files good and bad: every promise of the reliability table that concerns configurations, checkpoints and
//! tokenizers. All bad input is refused in one line that names the place, with exit code 2.

mod chat_tokens;
mod checkpoints;
mod config;
mod container;
mod documents;
#[cfg(all(unix, feature = "hub"))]
mod download;
mod encoder;
mod folder;
mod gguf;
#[cfg(feature = "text")]
mod gguf_complex;
mod gguf_fairy2i;
mod gguf_families;
mod gguf_logits;
mod gguf_make;
mod gguf_model;
mod gguf_tokens;
mod gguf_write;
mod grammar;
#[cfg(unix)]
mod hub;
#[cfg(all(unix, feature = "hub"))]
mod hub_server;
mod leftovers;
mod logits;
mod packed;
mod replacing;
mod small;
mod special;
mod templates;
mod tokenizer;
mod variants;

use fairy2i_gpu::{Error, Result};

/// The message of a refusal, after checking what all of them have in common.
#[track_caller]
fn refused<T>(result: Result<T>, names: &[&str]) -> String {
    let Err(error) = result else {
        panic!("accepted, but should name {names:?}");
    };
    check(&error, names)
}

#[track_caller]
fn check(error: &Error, names: &[&str]) -> String {
    let message = error.to_string();
    for name in names {
        assert!(message.contains(name), "{name:?} is not in: {message}");
    }
    assert!(
        !message.contains(['\n', '\r']),
        "more than a line: {message:?}"
    );
    assert_eq!(error.exit_code(), 2, "{message}");
    message
}
