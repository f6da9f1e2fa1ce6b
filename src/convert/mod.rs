//! From one folder to another: a checkpoint in full precision becomes a packed one, a packed one an ordinary one.
//!
//! Weights are read, quantized and written one tensor at a time, so that memory holds only the largest of them. One
//! weight by itself is [`crate::model::quantize()`]; quantizing that looks at a text is [`crate::quantize`].

mod export;
mod gguf;
mod pack;

pub use export::{ExportOptions, export_folder};
pub use gguf::{Gguf, export_gguf};
pub use pack::{Job, QuantizeOptions, Quantized, QuantizedLayer, quantize_folder};

/// How far a long call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Tensors that are done.
    pub done: usize,
    /// All of them.
    pub of: usize,
    /// Name of the next one; empty at the end.
    pub next: &'a str,
}
