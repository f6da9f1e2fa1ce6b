//! Perplexity of texts with the weights as they are deployed.

use crate::backend::{Backend, block_on};
use crate::error::{Error, Result};
use crate::files::Tokenizer;
use crate::files::corpus::packing;
use crate::model::train::{Batch, Trainer};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How a text is cut and its losses are counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Blocks of bos and text, every predicted token counted; what fills no block is left out
    #[default]
    Blocks,
    /// As the papers measure WikiText-2: lines are documents with eos, blocks of bos and whole documents
    Papers,
}

impl Protocol {
    /// In words, for blocks of `length` tokens.
    pub fn words(self, length: usize) -> String {
        match self {
            Self::Blocks => format!(
                "Blocks of bos and {} tokens, unfinished blocks dropped, every predicted token counted.",
                length - 1
            ),
            Self::Papers => format!(
                "Every line that is not empty is a document and ends with eos; blocks of bos and whole documents of up \
                 to {length} tokens; losses after eos are left out of the sum but not of the count."
            ),
        }
    }
}

/// A text in blocks of equal length, filled up where they are short.
#[derive(Default)]
pub struct Text {
    /// The file's stem.
    pub name: String,
    tokens: Vec<u32>,
    labels: Vec<i32>,
    /// What the sum of losses is divided by; otherwise the number of those that count.
    count: Option<usize>,
}

/// Tokenizes the files.
///
/// # Errors
/// [`Error::Io`], and [`Error::File`] for a text that fills no block.
pub fn open(
    files: &[PathBuf],
    protocol: Protocol,
    words: &Words<'_>,
    length: usize,
) -> Result<Vec<Text>> {
    let text = |file: &PathBuf| text(file, protocol, words, length);
    files.iter().map(text).collect()
}

fn text(file: &Path, protocol: Protocol, words: &Words<'_>, length: usize) -> Result<Text> {
    let bytes = std::fs::read(file).map_err(|e| Error::io(file, e))?;
    let content = String::from_utf8_lossy(&bytes);
    let name = file.file_stem().map(|s| s.to_string_lossy().into_owned());
    let mut text = Text {
        name: name.unwrap_or_default(),
        ..Text::default()
    };
    match protocol {
        Protocol::Blocks => text.blocks(&content, words, length)?,
        Protocol::Papers => text.documents(&content, words, length)?,
    }
    if text.tokens.is_empty() {
        return Err(Error::file(
            file.display().to_string(),
            format!("fills no block of {length} tokens"),
            "give a longer text",
        ));
    }
    Ok(text)
}

/// A tokenizer and the tokens that begin blocks and end documents.
pub struct Words<'a> {
    pub tokenizer: &'a Tokenizer,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
}

/// A token the protocol needs.
fn special(id: Option<u32>, what: &str) -> Result<u32> {
    let missing = || format!("the model has no {what} token to put into blocks");
    id.ok_or_else(|| Error::usage(missing(), "choose another --eval-protocol, or drop --eval"))
}

impl Text {
    fn blocks(&mut self, content: &str, words: &Words<'_>, length: usize) -> Result<()> {
        let ids = words.tokenizer.encode(content, false)?;
        let bos = special(words.bos, "begin")?;
        for block in ids.chunks_exact(length - 1) {
            self.tokens.push(bos);
            self.tokens.extend(block);
        }
        self.labels = self.tokens.iter().map(|&t| t as i32).collect();
        Ok(())
    }

    /// As the papers do (method of arXiv 2512.02901, evaluation).
    fn documents(&mut self, content: &str, words: &Words<'_>, length: usize) -> Result<()> {
        let (bos, eos) = (special(words.bos, "begin")?, special(words.eos, "end")?);
        let mut documents = Vec::new();
        for line in content.split('\n').filter(|l| !l.is_empty()) {
            let mut ids = words.tokenizer.encode(line, false)?;
            ids.push(eos);
            documents.push(ids);
        }
        let documents = documents.iter().map(Vec::as_slice);
        let mut count = 0;
        for block in packing::evaluation(documents, bos, length) {
            count += block.len() - 1;
            let filled = self.tokens.len() + length;
            self.labels.extend(packing::labels(&block, None, eos));
            self.tokens.extend(block);
            self.labels.resize(filled, packing::IGNORED);
            self.tokens.resize(filled, eos); // causal: what stands behind a token does not matter to it
        }
        self.count = Some(count);
        Ok(())
    }
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
        let pieces = text.tokens.chunks(at_once).zip(text.labels.chunks(at_once));
        for (tokens, labels) in pieces {
            let batch = Batch {
                tokens,
                labels,
                length,
            };
            let (losses, counted) = block_on(backend, trainer.evaluate(&[batch]))?;
            sum += losses;
            count += counted;
        }
        all.insert(
            text.name.clone(),
            (sum / text.count.unwrap_or(count) as f64).exp(),
        );
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use packing::IGNORED;

    /// "Once", an empty line, "upon a time", and a document that fits into no block of eight tokens.
    #[test]
    fn blocks_of_the_papers_hold_whole_documents() {
        let opened = crate::files::open_source(crate::builtin::source()).expect("the model");
        let words = Words {
            tokenizer: opened.tokenizer.as_ref().expect("a tokenizer"),
            bos: Some(1),
            eos: Some(2),
        };
        let ids = |text: &str| words.tokenizer.encode(text, false).expect("ids");
        let (first, second) = (ids("Once"), ids("upon a time"));
        let long = "far too many words for a block as short as that one is";
        let mut text = Text::default();
        let content = format!("Once\n\n{long}\nupon a time\n");
        text.documents(&content, &words, 8).expect("a block");
        let mut tokens = [&[1][..], &first, &[2], &second, &[2]].concat();
        assert_eq!(text.count, Some(tokens.len() - 1));
        let mut labels: Vec<i32> = tokens.iter().map(|&t| t as i32).collect();
        labels[first.len() + 2] = IGNORED; // behind the first end
        tokens.resize(8, 2);
        labels.resize(8, IGNORED);
        assert_eq!((text.tokens, text.labels), (tokens, labels));
    }

    #[test]
    fn plain_blocks_drop_what_fills_none() {
        let opened = crate::files::open_source(crate::builtin::source()).expect("the model");
        let words = Words {
            tokenizer: opened.tokenizer.as_ref().expect("a tokenizer"),
            bos: Some(1),
            eos: None,
        };
        let mut text = Text::default();
        text.blocks("Once upon a time, there was a", &words, 4)
            .expect("blocks");
        assert!(text.tokens.len().is_multiple_of(4) && !text.tokens.is_empty());
        assert!(text.tokens.chunks(4).all(|block| block[0] == 1));
        assert!(text.documents("Once", &words, 4).is_err());
    }
}
