//! The model inside the program, so that a bare clone can generate text.
//!
//! It is a LLaMA of 12.6 million parameters, trained on novels, children's stories and encyclopedia text (`novella`),
//! whose linear layers this program then taught to have two bits a weight, with the full-precision model as their
//! teacher. The files in `model/`, in the packed format of [`crate::files::packed`], are the folder that
//!
//! ```text
//! fairy2i-gpu quantize novella OUT --calibrate corpus.jsonl.zst wikipedia.jsonl.zst --tune 1000 --tune-batch 32
//! ```
//!
//! writes on an NVIDIA H200 (one minute; `wikipedia.jsonl.zst` are the passages of Wikipedia in the corpus), and are opened
//! like those of any other model. README.md has its perplexities.

use crate::error::{Error, Result};
#[cfg(feature = "text")]
use crate::files::corpus::texts::Content;
use crate::files::{self, ModelFolder, Source, gguf};
use std::path::Path;

/// What stands for the model inside the program where a folder is asked for.
pub const BUILTIN: &str = "builtin";

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("model/", $name)))),*]
    };
}

/// Its files by name. A static: a constant's six megabytes may be in the program twice.
pub static FILES: &[(&str, &[u8])] = files![
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Text to calibrate with, where no other is at hand: 140,000 tokens or so of encyclopedia passages (Wikipedia, CC BY-SA
/// 3.0, each with the title of its article), novels in the public domain and TinyStories (CDLA-Sharing-1.0), as JSON lines
/// in a zstd frame. `tools/calibration_text.py` makes it.
#[cfg(feature = "text")]
pub static CALIBRATION: &[u8] = include_bytes!("calibration.jsonl.zst");

/// The documents of [`CALIBRATION`].
///
/// # Errors
/// None, unless the crate itself is damaged.
#[cfg(feature = "text")]
pub fn calibration() -> Result<Content> {
    Content::from_frames("the built-in calibration text", CALIBRATION)
}

/// Where [`crate::files::open_source`] finds it.
pub fn source() -> Source {
    let files = FILES
        .iter()
        .map(|(name, bytes)| ((*name).to_owned(), *bytes));
    Source::memory("builtin", files)
}

/// Whether `model` means the built-in model; a folder of that name wins.
pub fn is_meant(model: Option<&Path>) -> bool {
    model.is_none_or(|path| path == Path::new(BUILTIN) && !path.exists())
}

/// Opens the model at `model`, a folder or a GGUF file, or the built-in one.
///
/// # Errors
/// As [`files::open`].
pub fn open(model: Option<&Path>) -> Result<ModelFolder> {
    match model.filter(|_| !is_meant(model)) {
        Some(path) => files::open(path),
        None => files::open_source(source()),
    }
}

/// Names and sizes of a model's files.
///
/// # Errors
/// [`Error::Io`] when they cannot be read.
pub fn sizes(model: Option<&Path>) -> Result<Vec<(String, u64)>> {
    let Some(path) = model.filter(|_| !is_meant(model)) else {
        let files = FILES.iter();
        return Ok(files
            .map(|(n, b)| (n.to_string(), b.len() as u64))
            .collect());
    };
    let mut files = Vec::new();
    if path.is_file() {
        for part in gguf::parts(path)? {
            let data = std::fs::metadata(&part).map_err(|e| Error::io(&part, e))?;
            let name = part.file_name().unwrap_or_default().to_string_lossy();
            files.push((name.into_owned(), data.len()));
        }
        return Ok(files);
    }
    for entry in std::fs::read_dir(path).map_err(|e| Error::io(path, e))? {
        let entry = entry.map_err(|e| Error::io(path, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // through links, as caches have them
        let data = std::fs::metadata(entry.path()).map_err(|e| Error::io(entry.path(), e))?;
        if data.is_file() && (name.ends_with(".safetensors") || name.ends_with(".json")) {
            files.push((name, data.len()));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(all(test, feature = "text"))]
mod tests {
    use super::*;

    #[test]
    fn the_calibration_text_is_whole() {
        let text = calibration().expect("it is part of the program");
        let documents = text.documents();
        let length: usize = documents.iter().map(|d| d.len()).sum();
        assert!(documents.len() > 300 && length > 500_000, "{length}");
        assert!(documents.iter().all(|d| d.len() >= 200));
    }
}
