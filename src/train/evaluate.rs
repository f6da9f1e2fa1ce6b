//! Perplexity of texts with the weights as they are deployed.

use crate::backend::{Backend, block_on};
use crate::error::{Error, Result};
use crate::files::Tokenizer;
use crate::files::corpus::encoder::Cut;
use crate::files::corpus::records::{Body, Reading, Records};
use crate::files::corpus::{TextUnit, packing};
use crate::model::train::{Batch, Trainer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How a text is cut and its losses are counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
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
    /// The file's name, without its endings where that is enough to tell it from the others.
    pub name: String,
    tokens: Vec<u32>,
    labels: Vec<i32>,
    /// What the sum of losses is divided by; otherwise the number of those that count.
    count: Option<usize>,
}

/// Tokenizes the files, which are read as `data` reads them; a file of another name is plain text.
///
/// # Errors
/// [`Error::Io`], and [`Error::File`] for a file that holds anything but text, or that fills no block.
pub fn open(
    files: &[PathBuf],
    protocol: Protocol,
    words: &Words<'_>,
    length: usize,
) -> Result<Vec<Text>> {
    let named = files.iter().zip(names(files));
    named
        .map(|(file, name)| text(file, name, protocol, words, length))
        .collect()
}

fn text(
    file: &Path,
    name: String,
    protocol: Protocol,
    words: &Words<'_>,
    length: usize,
) -> Result<Text> {
    let content = Content::read(file)?;
    let mut text = Text {
        name,
        ..Text::default()
    };
    match protocol {
        Protocol::Blocks => text.blocks(&content.documents(), words, length)?,
        Protocol::Papers => text.documents(&content.lines(), words, length)?,
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

/// What a file holds.
enum Content {
    /// One text.
    Whole(String),
    /// Lines of JSON or rows.
    Documents(Vec<String>),
}

impl Content {
    fn read(file: &Path) -> Result<Self> {
        let reading = Reading {
            field: "text".to_owned(),
            unit: TextUnit::File,
            longest: 1 << 30,
            cut: Cut::Never,
            any_name: true,
        };
        let mut records = Records::open(file, &reading)?;
        let mut documents = Vec::new();
        while let Some(record) = records.next()? {
            let bad = |line: u64, what: String| {
                let place = format!("{}:{line}", file.display());
                Error::file(place, what, "give a text in UTF-8")
            };
            if let Some((line, why)) = record.bad.into_iter().next() {
                return Err(bad(line, why));
            }
            let whole = matches!(record.body, Body::Lines(_));
            let text = record.body.text(&reading.field);
            let text = text.map_err(|why| bad(record.number, why))?;
            if !whole {
                documents.push(text);
                continue;
            }
            // No text has zeros, but most other files do, and they are UTF-8.
            if let Some(zero) = text.find('\0') {
                let lines = text[..zero].matches('\n').count() as u64;
                return Err(bad(lines + 1, "a byte is 0: this is no text".to_owned()));
            }
            return Ok(Self::Whole(text));
        }
        Ok(Self::Documents(documents))
    }

    /// Texts between which the model may not look.
    fn documents(&self) -> Vec<&str> {
        match self {
            Self::Whole(text) => vec![text],
            Self::Documents(all) => all.iter().map(String::as_str).collect(),
        }
    }

    /// Documents of the papers' protocol.
    fn lines(&self) -> Vec<&str> {
        match self {
            Self::Whole(text) => text.split('\n').collect(),
            Self::Documents(_) => self.documents(),
        }
    }
}

/// A name for every file: its stem, or as much of its path as tells it from others with that stem.
fn names(files: &[PathBuf]) -> Vec<String> {
    let same = |a: &Path, b: &Path| stem(a) == stem(b);
    let mut names: Vec<String> = Vec::with_capacity(files.len());
    for file in files {
        let alike: Vec<&PathBuf> = files.iter().filter(|other| same(other, file)).collect();
        let mut forms = (0..).map(|n| form(file, n));
        let longest = forms.clone().take_while(Option::is_some).count();
        let mut alone =
            forms.by_ref().take(longest).enumerate().filter(|(n, own)| {
                alike.iter().filter(|other| form(other, *n) == *own).count() == 1
            });
        let name = alone.next().and_then(|(_, own)| own);
        let name = name.unwrap_or_else(|| file.display().to_string());
        // The same file twice is measured twice.
        let number = |n: usize| {
            if n == 1 {
                name.clone()
            } else {
                format!("{name} ({n})")
            }
        };
        let free = (1..).map(number).find(|name| !names.contains(name));
        names.extend(free);
    }
    names
}

/// Names of a file, longer and longer: stem, file name, both with the folder, and so on.
fn form(file: &Path, n: usize) -> Option<String> {
    let mut parts: Vec<String> = file
        .components()
        .map(|c| c.as_os_str().to_string_lossy().into_owned())
        .collect();
    let last = parts.pop()?;
    let folders = parts.len().checked_sub(n / 2)?;
    let mut kept = parts.split_off(folders);
    kept.push(if n.is_multiple_of(2) {
        stem(file)
    } else {
        last
    });
    Some(kept.join("/"))
}

/// The name of a file without its folder, its ending, and that of an archive around it.
fn stem(file: &Path) -> String {
    let archive =
        |e: &std::ffi::OsStr| e.eq_ignore_ascii_case("gz") || e.eq_ignore_ascii_case("zst");
    let inner = match file.extension() {
        Some(ending) if archive(ending) => Path::new(file.file_stem().unwrap_or_default()),
        _ => file,
    };
    let stem = inner.file_stem().map(|s| s.to_string_lossy().into_owned());
    stem.unwrap_or_default()
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
    id.ok_or_else(|| Error::usage(missing(), "choose another `eval_protocol`, or drop `eval`"))
}

impl Text {
    /// Documents follow each other with eos between them, where the model has one.
    fn blocks(&mut self, documents: &[&str], words: &Words<'_>, length: usize) -> Result<()> {
        let mut ids = Vec::new();
        for (i, document) in documents.iter().enumerate() {
            ids.extend(words.eos.filter(|_| i > 0));
            ids.extend(words.tokenizer.encode(document, false)?);
        }
        let bos = special(words.bos, "begin")?;
        for block in ids.chunks_exact(length - 1) {
            self.tokens.push(bos);
            self.tokens.extend(block);
        }
        self.labels = self.tokens.iter().map(|&t| t as i32).collect();
        Ok(())
    }

    /// As the papers do (method of arXiv 2512.02901, evaluation).
    fn documents(&mut self, lines: &[&str], words: &Words<'_>, length: usize) -> Result<()> {
        let (bos, eos) = (special(words.bos, "begin")?, special(words.eos, "end")?);
        let mut documents = Vec::new();
        for line in lines.iter().filter(|l| !l.is_empty()) {
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
        let lines: Vec<&str> = content.split('\n').collect();
        text.documents(&lines, &words, 8).expect("a block");
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
        text.blocks(&["Once upon a time, there was a"], &words, 4)
            .expect("blocks");
        assert!(text.tokens.len().is_multiple_of(4) && !text.tokens.is_empty());
        assert!(text.tokens.chunks(4).all(|block| block[0] == 1));
        assert!(text.documents(&["Once"], &words, 4).is_err());
    }

    #[test]
    fn every_file_has_a_name_of_its_own() {
        let names = |files: &[&str]| {
            let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
            super::names(&files)
        };
        for (files, want) in [
            (
                &["a/val.txt", "wiki.test.raw"][..],
                &["val", "wiki.test"][..],
            ),
            (
                &["a/val.txt", "b/val.txt", "c.txt.gz"],
                &["a/val", "b/val", "c"],
            ),
            (
                &["val.txt", "val.jsonl", "val.txt.gz"],
                &["val.txt", "val.jsonl", "val.txt.gz"],
            ),
            (&["x/a/val.txt", "y/a/val.txt"], &["x/a/val", "y/a/val"]),
            (
                &["a/val.txt", "a/val.txt", "val.txt"],
                &["a/val.txt", "a/val.txt (2)", "val.txt"],
            ),
            (&["val.txt", "b/val.txt"], &["val.txt", "b/val"]),
            (&["val", "val.txt"], &["val", "val.txt"]),
        ] {
            assert_eq!(names(files), want, "{files:?}");
        }
    }
}
