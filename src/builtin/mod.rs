//! The model inside the program, so that a bare clone can generate text.
//!
//! It is a LLaMA of 12.6 million parameters, trained on novels, children's stories and encyclopedia text and then
//! fine-tuned with two-bit weights, in the packed format of [`crate::files::packed`]. The files in `model/` were made,
//! byte for byte, by
//!
//! ```text
//! fairy2i-gpu quantize ../shared/models/novella-w2 src/builtin/model --force --stages 2
//! ```
//!
//! and are opened like those of any other model.

use crate::files::Source;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("model/", $name)))),*]
    };
}

/// Its files by name.
pub const FILES: &[(&str, &[u8])] = files![
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Where [`crate::files::open_source`] finds it.
pub fn source() -> Source {
    let files = FILES
        .iter()
        .map(|(name, bytes)| ((*name).to_owned(), *bytes));
    Source::memory("builtin", files)
}
