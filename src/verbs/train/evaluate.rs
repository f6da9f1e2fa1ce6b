//! Perplexity of texts with the weights as they are deployed.

use crate::backend::{Backend, block_on};
use crate::error::{Error, Result};
use crate::files::Tokenizer;
use crate::model::train::{Batch, Trainer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A text in blocks of bos and `length - 1` tokens; what fills no block is left out.
pub struct Text {
    /// The file's stem.
    pub name: String,
    tokens: Vec<u32>,
}

/// How [`perplexity`] measures, in words.
pub fn protocol(length: usize) -> String {
    format!(
        "Blocks of bos and {} tokens, unfinished blocks dropped, every predicted token counted.",
        length - 1
    )
}

/// Tokenizes the files.
///
/// # Errors
/// [`Error::Io`], and [`Error::File`] for a text that fills no block.
pub fn open(files: &[PathBuf], tokenizer: &Tokenizer, length: usize) -> Result<Vec<Text>> {
    files
        .iter()
        .map(|file| text(file, tokenizer, length))
        .collect()
}

fn text(file: &Path, tokenizer: &Tokenizer, length: usize) -> Result<Text> {
    let bytes = std::fs::read(file).map_err(|e| Error::io(file, e))?;
    let ids = tokenizer.encode(&String::from_utf8_lossy(&bytes), false)?;
    let bos = tokenizer.bos().ok_or_else(|| {
        Error::usage(
            "the model has no begin token to put before a block",
            "drop --eval",
        )
    })?;
    let mut tokens = Vec::new();
    for block in ids.chunks_exact(length - 1) {
        tokens.push(bos);
        tokens.extend(block);
    }
    let name = file.file_stem().map(|s| s.to_string_lossy().into_owned());
    if tokens.is_empty() {
        let what = format!("has {} tokens, fewer than a block of {length}", ids.len());
        return Err(Error::file(
            file.display().to_string(),
            what,
            "give a longer text",
        ));
    }
    Ok(Text {
        name: name.unwrap_or_default(),
        tokens,
    })
}

/// Perplexities by name.
pub fn perplexities<B: Backend>(
    backend: &B,
    trainer: &mut Trainer<&B>,
    texts: &[Text],
) -> Result<BTreeMap<String, f64>> {
    let length = trainer.options().length;
    let at_once = trainer.options().rows();
    let mut all = BTreeMap::new();
    for text in texts {
        let (mut sum, mut count) = (0.0, 0);
        for tokens in text.tokens.chunks(at_once) {
            let labels: Vec<i32> = tokens.iter().map(|&t| t as i32).collect();
            let batch = Batch {
                tokens,
                labels: &labels,
                length,
            };
            let (losses, counted) = block_on(backend, trainer.evaluate(&[batch]))?;
            sum += losses;
            count += counted;
        }
        all.insert(text.name.clone(), (sum / count as f64).exp());
    }
    Ok(all)
}
