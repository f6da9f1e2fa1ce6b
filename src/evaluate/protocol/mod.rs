//! How a text is cut into windows for a model, and which of its tokens are counted.

use crate::error::{Error, Result};
use crate::files::corpus::packing;
use crate::files::corpus::texts::{Content, names};
use crate::files::tokenizer::TOKENIZER;
use crate::files::{ModelFolder, Tokenizer};
use crate::model::session::IGNORED;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How a text is cut and its losses are counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Blocks of bos and text, every predicted token counted; what fills no block is left out
    #[default]
    Blocks,
    /// As the papers measure WikiText-2: lines are documents with eos, blocks of bos and whole documents
    #[serde(alias = "papers")]
    #[cfg_attr(feature = "cli", value(alias = "papers"))]
    Paper,
    /// As llama.cpp's llama-perplexity: chunks of the text, the second half of each counted
    LlamaPerplexity,
    /// Overlapping windows; each counts only what the one before did not
    Strided,
}

impl Protocol {
    /// In words, for blocks of `length` tokens.
    pub fn words(self, length: usize) -> String {
        match self {
            Self::Blocks => format!(
                "Blocks of bos and {} tokens, unfinished blocks dropped, every predicted token counted.",
                length - 1
            ),
            Self::Paper => format!(
                "Every line that is not empty is a document and ends with eos; blocks of bos and whole documents of up \
                 to {length} tokens; losses after eos are left out of the sum but not of the count."
            ),
            Self::LlamaPerplexity => format!(
                "Chunks of {length} tokens, the first of which is replaced by bos where the model has one; tokens of the \
                 second half of each chunk counted."
            ),
            Self::Strided => format!(
                "Windows of {length} tokens that overlap; every token but the first is counted once, in the first window \
                 that holds it."
            ),
        }
    }
}

/// A protocol with its lengths, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cutting {
    /// The protocol.
    pub protocol: Protocol,
    /// Tokens of a window, at least 2.
    pub length: usize,
    /// From the beginning of a window to that of the next one, for [`Protocol::Strided`]; between 1 and `length`.
    pub stride: usize,
}

/// A tokenizer and the tokens that begin blocks and end documents.
#[derive(Clone, Copy)]
pub struct Words<'a> {
    /// The tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The token that begins a block.
    pub bos: Option<u32>,
    /// The token that ends a document.
    pub eos: Option<u32>,
}

impl<'a> Words<'a> {
    /// Those of a model.
    ///
    /// # Errors
    /// [`Error::File`] for a model without a tokenizer.
    pub fn of(opened: &'a ModelFolder) -> Result<Self> {
        let place = || opened.source.place(TOKENIZER);
        let hint = "copy it from where the model came from, or measure no text";
        let tokenizer = opened.tokenizer.as_ref();
        let tokenizer = tokenizer.ok_or_else(|| Error::file(place(), "is missing", hint))?;
        Ok(Self {
            tokenizer,
            bos: tokenizer.bos(),
            eos: opened.config.eos.first().copied(),
        })
    }
}

/// Tokens that a model sees together, from an empty cache on. The last token of a block is a target only: the model
/// need not see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    /// Ids.
    pub tokens: Vec<u32>,
    /// For each token the one that follows, or [`IGNORED`] where that does not count.
    pub targets: Vec<u32>,
}

/// A text in windows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    /// The file's name, without its endings where that is enough to tell it from the others.
    pub name: String,
    /// Where it was read.
    pub path: PathBuf,
    /// Its windows, in order.
    pub windows: Vec<Window>,
    /// What the sum of losses is divided by: the tokens that count, or what the protocol says.
    pub count: usize,
    /// Tokens of the whole text, without those that the protocol adds.
    pub tokens: usize,
    /// Bytes of the whole text.
    pub bytes: usize,
}

/// Tokenizes and cuts the files, which are read as training data is; a file of another name is plain text.
///
/// # Errors
/// [`Error::Io`], [`Error::File`] for a file that holds anything but text or fills no window, and [`Error::Usage`] for a
/// protocol that needs a token which the model does not have, or for lengths that make no sense.
pub fn open(files: &[PathBuf], cutting: Cutting, words: &Words<'_>) -> Result<Vec<Text>> {
    if cutting.length < 2 || cutting.stride == 0 || cutting.stride > cutting.length {
        return Err(Error::usage(
            format!(
                "windows of {} tokens, {} apart",
                cutting.length, cutting.stride
            ),
            "take windows of at least 2 tokens, at most as far apart as they are long",
        ));
    }
    let named = files.iter().zip(names(files));
    let text = |(path, name): (&PathBuf, String)| -> Result<Text> {
        let mut text = Text::cut(&Content::read(path)?, cutting, words)?;
        (text.name, text.path) = (name, path.clone());
        text.filled(path, cutting)?;
        Ok(text)
    };
    named.map(text).collect()
}

/// A token the protocol needs.
fn special(id: Option<u32>, what: &str) -> Result<u32> {
    let missing = || format!("the model has no {what} token to put into blocks");
    id.ok_or_else(|| {
        Error::usage(
            missing(),
            "choose another protocol, or measure no perplexity",
        )
    })
}

impl Text {
    /// Tokenizes and cuts what a file holds.
    ///
    /// # Errors
    /// As [`open`]; a text without a window is none here.
    pub fn cut(content: &Content, cutting: Cutting, words: &Words<'_>) -> Result<Self> {
        let Cutting {
            length, protocol, ..
        } = cutting;
        let documents = match protocol {
            Protocol::Paper => content.lines(),
            _ => content.documents(),
        };
        let mut text = Self {
            bytes: documents.iter().map(|d| d.len()).sum(),
            ..Self::default()
        };
        match protocol {
            Protocol::Blocks => text.blocks(&documents, words, length)?,
            Protocol::Paper => text.documents(&documents, words, length)?,
            Protocol::LlamaPerplexity => text.chunks(&documents, words, length)?,
            Protocol::Strided => text.strided(&documents, words, cutting)?,
        }
        if text.count == 0 {
            let counted = |w: &Window| w.targets.iter().filter(|&&t| t != IGNORED).count();
            text.count = text.windows.iter().map(counted).sum();
        }
        Ok(text)
    }

    fn filled(&self, path: &Path, cutting: Cutting) -> Result<()> {
        if self.count > 0 {
            return Ok(());
        }
        Err(Error::file(
            path.display().to_string(),
            format!("fills no block of {} tokens", cutting.length),
            "give a longer text",
        ))
    }

    /// Documents follow each other with eos between them, where the model has one.
    fn blocks(&mut self, documents: &[&str], words: &Words<'_>, length: usize) -> Result<()> {
        let mut ids = Vec::new();
        for (i, document) in documents.iter().enumerate() {
            ids.extend(words.eos.filter(|_| i > 0));
            ids.extend(words.tokenizer.encode(document, false)?);
        }
        self.tokens = ids.len();
        let bos = special(words.bos, "begin")?;
        for block in ids.chunks_exact(length - 1) {
            let mut tokens = vec![bos];
            tokens.extend(block);
            self.windows.push(Window::all(tokens));
        }
        Ok(())
    }

    /// As the papers do (method of arXiv 2512.02901, evaluation).
    fn documents(&mut self, lines: &[&str], words: &Words<'_>, length: usize) -> Result<()> {
        let (bos, eos) = (special(words.bos, "begin")?, special(words.eos, "end")?);
        let mut documents = Vec::new();
        for line in lines.iter().filter(|l| !l.is_empty()) {
            let mut ids = words.tokenizer.encode(line, false)?;
            self.tokens += ids.len();
            ids.push(eos);
            documents.push(ids);
        }
        let documents = documents.iter().map(Vec::as_slice);
        for block in packing::evaluation(documents, bos, length) {
            self.count += block.len() - 1;
            let labels = packing::labels(&block, None, eos);
            let target = |&label: &i32| u32::try_from(label).unwrap_or(IGNORED);
            let mut window = Window::all(block);
            window.targets = labels[1..].iter().map(target).collect();
            self.windows.push(window);
        }
        Ok(())
    }

    /// As llama.cpp's `llama-perplexity` does (tools/perplexity/perplexity.cpp, `perplexity`): the whole text is tokenized
    /// with what the tokenizer adds, cut into chunks whose first token is replaced by bos where the tokenizer adds one,
    /// and the tokens behind the middle of each chunk are counted.
    fn chunks(&mut self, documents: &[&str], words: &Words<'_>, length: usize) -> Result<()> {
        let (ids, added) = self.whole(documents, words)?;
        let middle = length / 2;
        for chunk in ids.chunks_exact(length) {
            let mut tokens = chunk.to_vec();
            tokens[0] = added.unwrap_or(tokens[0]);
            let mut window = Window::all(tokens);
            window.targets[..middle].fill(IGNORED);
            self.windows.push(window);
        }
        Ok(())
    }

    /// As Hugging Face's guide to perplexity of models with a fixed length does it.
    fn strided(&mut self, documents: &[&str], words: &Words<'_>, cutting: Cutting) -> Result<()> {
        let (ids, _) = self.whole(documents, words)?;
        let mut counted = 0;
        for begin in (0..ids.len()).step_by(cutting.stride) {
            let end = ids.len().min(begin + cutting.length);
            let mut window = Window::all(ids[begin..end].to_vec());
            let known = counted.max(begin + 1) - (begin + 1);
            window.targets[..known].fill(IGNORED);
            self.windows.extend((end > begin + 1).then_some(window));
            counted = end;
            if end == ids.len() {
                break;
            }
        }
        Ok(())
    }

    /// The ids of all documents as one text, with the begin token if the tokenizer adds one by itself.
    fn whole(&mut self, documents: &[&str], words: &Words<'_>) -> Result<(Vec<u32>, Option<u32>)> {
        let ids = match documents {
            [one] => words.tokenizer.encode(one, true)?,
            several => words.tokenizer.encode(&several.join("\n"), true)?,
        };
        let begin = words.bos.filter(|bos| ids.first() == Some(bos));
        let stated = match begin {
            Some(_) => words.tokenizer.encode("a", true)?.first() == words.bos.as_ref(),
            None => false,
        };
        let added = begin.filter(|_| stated);
        self.tokens = ids.len() - usize::from(added.is_some());
        Ok((ids, added))
    }
}

impl Window {
    /// Every token of `block` but the first is counted.
    fn all(mut block: Vec<u32>) -> Self {
        let targets = block.get(1..).unwrap_or_default().to_vec();
        block.truncate(targets.len());
        Self {
            tokens: block,
            targets,
        }
    }
}

#[cfg(test)]
mod tests;
