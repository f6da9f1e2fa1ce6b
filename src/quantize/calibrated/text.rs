//! The text that a model is calibrated with, in sequences of tokens.

use super::own;
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::evaluate::Words;
use crate::files::corpus::Order;
use crate::files::corpus::texts::Content;
use crate::files::digest::hash;
use crate::files::packed::little_endian;
use crate::generate::ModelFiles;
use crate::ops::cpu::each_chunk;
use std::path::{Path, PathBuf};

/// Where calibration text comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextSource {
    /// A file, as [`crate::files::corpus`] reads them: .txt, .jsonl, .parquet, also .gz and .zst.
    File(PathBuf),
    /// [`crate::builtin::CALIBRATION`]: encyclopedia text, novels and children's stories.
    Builtin,
    /// The model's own samples: a begin token, a random token, and what the model makes of them at temperature 1.
    Own,
}

/// What a model is calibrated with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalibrationText {
    /// Each gives an equal share of the sequences.
    pub sources: Vec<TextSource>,
    /// Tokens of all sequences, at most.
    pub tokens: usize,
    /// Tokens of a sequence, the begin token included.
    pub length: usize,
    /// Seed of the choice of pieces of the text, and of own samples.
    pub seed: u64,
}

impl TextSource {
    /// The file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Builtin | Self::Own => None,
        }
    }

    /// The file's name, or `builtin` or `self`.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => {
                let name = path.file_name().unwrap_or_default();
                name.to_string_lossy().into()
            }
            Self::Builtin => "builtin".to_owned(),
            Self::Own => "self".to_owned(),
        }
    }
}

impl CalibrationText {
    /// Tokens that are enough for the second moments of most layers; four times as many were no better.
    pub const TOKENS: usize = 131_072;
    /// Tokens on a CPU, which runs them for minutes.
    pub const TOKENS_ON_CPU: usize = 32_768;
    /// Tokens of a sequence.
    pub const LENGTH: usize = 512;

    /// From these sources, in the usual amount for `device`.
    pub fn new(sources: Vec<TextSource>, device: &Device) -> Self {
        Self {
            sources,
            tokens: if !device.is_hardware() {
                Self::TOKENS_ON_CPU
            } else {
                Self::TOKENS
            },
            length: Self::LENGTH,
            seed: 42,
        }
    }
}

/// A text in sequences that all begin as texts of the model begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequences {
    /// What the model is calibrated with.
    pub used: Vec<Vec<u32>>,
    /// Sequences of the same sources that are only measured.
    pub held_out: Vec<Vec<u32>>,
}

/// Sequences of each source that are only measured, at most; an eighth of what is used, if that is less.
const HELD_OUT: usize = 16;

/// Bytes of a text that are chosen together, for each token of a sequence: about two sequences.
const BYTES: usize = 8;

/// Pieces that are encoded together.
const TOGETHER: usize = 256;

impl Sequences {
    /// Reads, samples and cuts.
    ///
    /// # Errors
    /// Those of reading files, [`Error::Usage`] for text with fewer than two tokens, failures of the device.
    pub fn of(
        text: &CalibrationText,
        files: &ModelFiles,
        device: &Device,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self> {
        let context = files.config().context;
        let length = text.length.min(context);
        if length < 2 || text.sources.is_empty() || text.tokens < length {
            return Err(Error::usage(
                format!(
                    "{} tokens of calibration text in sequences of {length} from {} sources",
                    text.tokens,
                    text.sources.len()
                ),
                "give a text, and at least one sequence of two tokens",
            ));
        }
        let words = Words::of(files.opened())?;
        let each = (text.tokens / length).div_ceil(text.sources.len());
        let spare = (each / 8).clamp(1, HELD_OUT);
        let mut all = Vec::new();
        for (i, source) in text.sources.iter().enumerate() {
            let seed = text.seed.wrapping_add(i as u64);
            let wanted = each + spare;
            let cut = Cut {
                words,
                length,
                seed,
            };
            all.push(match source {
                TextSource::File(path) => {
                    let sequences = cut.sequences(&Content::read(path)?, wanted)?;
                    enough(sequences, path)?
                }
                TextSource::Builtin => cut.sequences(&crate::builtin::calibration()?, wanted)?,
                TextSource::Own => own::sample(files, device, (wanted, length, seed), progress)?,
            });
        }
        Ok(Self::mixed(all, each, text.tokens / length))
    }

    /// Takes `each` sequences of every source in turns, `most` of all; what is left is held out.
    fn mixed(mut sources: Vec<Vec<Vec<u32>>>, each: usize, most: usize) -> Self {
        let mut held_out = Vec::new();
        for source in &mut sources {
            // a short text is for calibrating first of all
            let spare = source.len().saturating_sub(each).max(source.len() / 9);
            held_out.extend(source.split_off(source.len() - spare));
        }
        let longest = sources.iter().map(Vec::len).max().unwrap_or(0);
        let mut turns: Vec<_> = sources.into_iter().map(Vec::into_iter).collect();
        let mut used = Vec::new();
        for _ in 0..longest {
            used.extend(turns.iter_mut().filter_map(Iterator::next));
        }
        used.truncate(most);
        Self { used, held_out }
    }

    /// Tokens that the model is calibrated with.
    pub fn tokens(&self) -> usize {
        self.used.iter().map(Vec::len).sum()
    }

    /// Tokens of the longest sequence that the model is calibrated with.
    pub fn length(&self) -> usize {
        self.used.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// SHA-256 of the ids that the model is calibrated with, in hexadecimal digits.
    pub fn sha256(&self) -> String {
        hash(&little_endian(&self.used.concat()))
    }
}

/// Refuses a file that gives nothing.
fn enough(sequences: Vec<Vec<u32>>, path: &Path) -> Result<Vec<Vec<u32>>> {
    if sequences.is_empty() {
        let what = "has fewer than two tokens";
        return Err(Error::file(
            path.display().to_string(),
            what,
            "give a longer text",
        ));
    }
    Ok(sequences)
}

/// How a text is cut.
struct Cut<'a> {
    words: Words<'a>,
    length: usize,
    seed: u64,
}

/// A piece of a text, and whether a document ends with it.
type Piece<'a> = (&'a str, bool);

impl Cut<'_> {
    /// At most `wanted` sequences. The text is cut into pieces of a few sequences each, which are taken in random order and
    /// follow one another: a few long documents do not crowd out all others.
    fn sequences(&self, content: &Content, wanted: usize) -> Result<Vec<Vec<u32>>> {
        let pieces = self.pieces(content);
        let fresh = self.length - usize::from(self.words.bos.is_some());
        let mut order = Order::new(self.seed);
        let (mut stream, mut all) = (Vec::new(), Vec::new());
        let mut rest = pieces.len();
        while rest > 0 && all.len() < wanted {
            let count = TOGETHER.min(rest);
            rest -= count;
            let next = || order.next(pieces.len() as u64).map(|i| pieces[i as usize]);
            let chosen: Vec<Piece<'_>> = std::iter::from_fn(next).take(count).collect();
            for (ids, (_, ends)) in self.encoded(&chosen)?.into_iter().zip(chosen) {
                stream.extend(ids);
                if ends {
                    stream.extend(self.words.eos);
                }
            }
            let mut at = 0;
            while stream.len() - at >= fresh && all.len() < wanted {
                all.push(self.begun(&stream[at..at + fresh]));
                at += fresh;
            }
            stream.drain(..at);
        }
        // a text that fills no sequence is one by itself
        if all.is_empty() && stream.len() > 1 {
            all.push(self.begun(&stream));
        }
        Ok(all)
    }

    fn pieces<'t>(&self, content: &'t Content) -> Vec<Piece<'t>> {
        let size = self.length.saturating_mul(BYTES);
        match content {
            Content::Whole(text) => chunks(text, size).into_iter().map(|t| (t, false)).collect(),
            Content::Documents(all) => {
                let cut = |text: &'t String| {
                    let chunks = chunks(text, size);
                    let last = chunks.len() - 1;
                    let piece = move |(i, text)| (text, i == last);
                    chunks.into_iter().enumerate().map(piece)
                };
                all.iter().flat_map(cut).collect()
            }
        }
    }

    /// Token ids of pieces, on all threads.
    fn encoded(&self, pieces: &[Piece<'_>]) -> Result<Vec<Vec<u32>>> {
        let mut all: Vec<Result<Vec<u32>>> = pieces.iter().map(|_| Ok(Vec::new())).collect();
        each_chunk(&mut all, 1, |i, ids| {
            ids[0] = self.words.tokenizer.encode(pieces[i].0, false);
        });
        all.into_iter().collect()
    }

    fn begun(&self, ids: &[u32]) -> Vec<u32> {
        self.words
            .bos
            .into_iter()
            .chain(ids.iter().copied())
            .collect()
    }
}

/// A text in pieces of at most `size` bytes that end with a line, or with a word where lines are longer.
fn chunks(text: &str, size: usize) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = text;
    while rest.len() > size {
        let at = (1..=size).rev().find(|&at| rest.is_char_boundary(at));
        let at = at.unwrap_or(rest.len());
        let line = rest[..at].rfind('\n').map(|line| line + 1);
        let end = line.or_else(|| rest[..at].rfind(' ').filter(|&word| word > 0));
        let (piece, others) = rest.split_at(end.unwrap_or(at));
        all.push(piece);
        rest = others;
    }
    all.push(rest);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_text_are_all_of_it() {
        let text = "a line of words\n".repeat(20_000) + &"ä".repeat(100_000);
        let pieces = chunks(&text, 1 << 16);
        assert!(pieces.len() > 5);
        assert_eq!(pieces.concat(), text);
        assert!(pieces[0].ends_with('\n'));
    }

    #[test]
    fn sources_take_turns() {
        let of = |value: u32, count: usize| vec![vec![value]; count];
        let mixed = Sequences::mixed(vec![of(1, 5), of(2, 2), of(3, 9)], 4, 7);
        assert_eq!(mixed.used.concat(), [1, 2, 3, 1, 2, 3, 1]);
        assert_eq!(mixed.held_out.len(), 1 + 5);
    }
}
