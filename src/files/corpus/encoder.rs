//! Text to tokens at the speed of a look-up.
//!
//! The `tokenizers` library takes about 1.7 us a word (3.3 MB/s): it copies every word into a string of its own with
//! the origin of each character. Words come again and again, so the library is asked once for each and the answer is
//! kept. That is exact only where a tokenizer looks at words one by one; which ones do, and where their text may be
//! cut, is read from `tokenizer.json` ([`Cut`]). All others get whole documents.

use crate::error::Result;
use crate::files::Tokenizer;
use serde_json::Value;
use std::collections::HashMap;

/// Where a text may be cut without changing its tokens. A text that holds an added token is never cut: those are found
/// before anything else, and what follows them begins anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// Nowhere that we know of.
    Never,
    /// Before a space, and after a line end, that stand between characters that are no white space; and between a
    /// letter and a punctuation mark other than an apostrophe. So it is for byte-level tokenizers: their patterns
    /// look no further than one word and the white space before it.
    Words(Added),
    /// Before a space alone, which goes into the mark that the tokenizer puts before every text (LLaMA 2). No token
    /// may hold that mark after another character, or merges would cross the cut.
    Marked(Added),
}

/// Tokens that are found in a text before it is split into words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    tokens: Vec<String>,
    /// Bytes that one of them begins with.
    first: [bool; 256],
}

impl Added {
    fn new(tokens: Vec<String>) -> Self {
        let mut first = [false; 256];
        for token in &tokens {
            first[usize::from(token.as_bytes()[0])] = true;
        }
        Self { tokens, first }
    }

    /// Whether there is one in `text`.
    fn is_in(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        let begins = |at: usize| {
            let rest = &bytes[at..];
            self.tokens.iter().any(|t| rest.starts_with(t.as_bytes()))
        };
        let mut places = bytes
            .iter()
            .enumerate()
            .filter(|(_, b)| self.first[usize::from(**b)]);
        places.any(|(at, _)| begins(at))
    }
}

/// What LLaMA 2 writes for a space.
const MARK: &str = "\u{2581}";

/// Patterns of pre-tokenizers known to be cut as [`Cut::Words`] says: GPT-2; GPT-4 and LLaMA 3; Qwen 2.
const PATTERNS: [&str; 3] = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];

impl Cut {
    /// What `tokenizer.json` says; [`Cut::Never`] in doubt.
    pub fn of(tokenizer: &Value) -> Self {
        let model = &tokenizer["model"];
        let bpe = model["type"] == "BPE" || (model["type"].is_null() && model["merges"].is_array());
        let empty = Vec::new();
        let added = tokenizer["added_tokens"].as_array().unwrap_or(&empty);
        let content = |t: &Value| plain(t).map(str::to_owned);
        let added: Option<Vec<String>> = added.iter().map(content).collect();
        let Some(added) = added.filter(|_| bpe && model["dropout"].is_null()) else {
            return Self::Never;
        };
        let (normalizer, splitter) = (&tokenizer["normalizer"], &tokenizer["pre_tokenizer"]);
        if normalizer.is_null() && is_byte_level(splitter) {
            return Self::Words(Added::new(added));
        }
        let known = model["byte_fallback"] == true || model["fuse_unk"] == false;
        if known && splitter.is_null() && marks_spaces(normalizer) && marks_begin(&model["vocab"]) {
            return Self::Marked(Added::new(added));
        }
        Self::Never
    }
}

/// The letters of an added token, if the text has them wherever the token is found.
fn plain(token: &Value) -> Option<&str> {
    let content = token["content"].as_str()?;
    let other = |c: char| c.is_whitespace() || MARK.contains(c);
    (!content.is_empty() && !content.contains(other)).then_some(content)
}

fn is_byte_level(splitter: &Value) -> bool {
    let bytes = |s: &Value, regex: bool| {
        s["type"] == "ByteLevel"
            && s["add_prefix_space"] == false
            && s["use_regex"].as_bool().unwrap_or(true) == regex
    };
    let known = |s: &Value| {
        s["type"] == "Split"
            && s["behavior"] == "Isolated"
            && s["invert"] != true
            && s["pattern"]["Regex"]
                .as_str()
                .is_some_and(|p| PATTERNS.contains(&p))
    };
    let digits = |s: &Value| s["type"] == "Digits" && s["individual_digits"] == true;
    match splitter["pretokenizers"].as_array().map(Vec::as_slice) {
        None => bytes(splitter, true),
        Some([split, last]) if splitter["type"] == "Sequence" => {
            known(split) && bytes(last, false) || digits(split) && bytes(last, true)
        }
        Some(_) => false,
    }
}

/// LLaMA 2's normalizer: a mark in front, and one for every space.
fn marks_spaces(normalizer: &Value) -> bool {
    let Some([prepend, replace]) = normalizer["normalizers"].as_array().map(Vec::as_slice) else {
        return false;
    };
    prepend["type"] == "Prepend"
        && prepend["prepend"] == MARK
        && replace["type"] == "Replace"
        && replace["pattern"]["String"] == " "
        && replace["content"] == MARK
}

/// Whether the mark only ever stands at the beginning of a token.
fn marks_begin(vocab: &Value) -> bool {
    let begins = |token: &String| !token.trim_start_matches(MARK).contains(MARK);
    vocab.as_object().is_some_and(|v| v.keys().all(begins))
}

/// A tokenizer with a memory; every worker has its own.
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    cut: &'a Cut,
    /// Where the tokens of a word lie in `ids`.
    words: HashMap<Box<str>, (u32, u32)>,
    ids: Vec<u32>,
    most: usize,
}

/// Longest text the library is asked for at once, in bytes.
const LONGEST_TEXT: usize = 1 << 16;
/// Longest word kept, in bytes.
const LONGEST_WORD: usize = 64;

impl<'a> Encoder<'a> {
    /// An encoder that knows no word yet, and keeps `most` at most, about 100 bytes each; when there are more, it
    /// forgets them all.
    pub fn new(tokenizer: &'a Tokenizer, cut: &'a Cut, most: usize) -> Self {
        Self {
            tokenizer,
            cut,
            words: HashMap::new(),
            ids: Vec::new(),
            most,
        }
    }

    /// Appends the tokens of `text`, no specials added: exactly what the library gives for it. `begins` says that it
    /// is not the next piece of a longer text, cut before a space. Only where a text cannot be cut for 64 KiB is it cut
    /// all the same, where that may change a token.
    ///
    /// # Errors
    /// When the library refuses the text, as [`Tokenizer::encode`].
    pub fn encode(&mut self, mut text: &str, begins: bool, out: &mut Vec<u32>) -> Result<()> {
        let (added, marked) = match self.cut {
            Cut::Never => return self.ask(text, out),
            Cut::Words(added) => (added, false),
            Cut::Marked(added) => (added, true),
        };
        if marked && !begins {
            text = text.strip_prefix(' ').unwrap_or(text);
        }
        if added.is_in(text) {
            return self.ask(text, out);
        }
        let bytes = text.as_bytes();
        let mut start = 0;
        for at in 1..bytes.len() {
            let here = match bytes[at] {
                b' ' if is_alone(text, at) => at,
                _ if marked => continue,
                b'\n' if is_alone(text, at) => at + 1,
                b'\'' => continue,
                b if b.is_ascii_punctuation() && bytes[at - 1].is_ascii_alphabetic() => at,
                _ => continue,
            };
            self.word(&text[start..here], out)?;
            // The tokenizer puts the mark back that stands for the space.
            start = here + usize::from(marked);
        }
        self.word(&text[start..], out)
    }

    fn word(&mut self, word: &str, out: &mut Vec<u32>) -> Result<()> {
        if let Some(&(from, to)) = self.words.get(word) {
            out.extend_from_slice(&self.ids[from as usize..to as usize]);
            return Ok(());
        }
        let before = out.len();
        self.ask(word, out)?;
        if word.len() <= LONGEST_WORD {
            if self.words.len() >= self.most {
                self.words.clear();
                self.ids.clear();
            }
            let from = self.ids.len() as u32;
            self.ids.extend_from_slice(&out[before..]);
            let range = (from, self.ids.len() as u32);
            self.words.insert(word.into(), range);
        }
        Ok(())
    }

    /// Asks the library. It needs some 200 bytes for each byte of a text, so what is very long goes in pieces.
    fn ask(&self, mut text: &str, out: &mut Vec<u32>) -> Result<()> {
        while text.len() > LONGEST_TEXT {
            let boundary = (0..=LONGEST_TEXT).rev().find(|&i| text.is_char_boundary(i));
            let at = boundary.unwrap_or(text.len());
            let (piece, _) = text.split_at(at);
            let line = piece.rfind('\n').map(|i| i + 1);
            let cut = line.or(piece.rfind(' ')).filter(|&i| i > 0).unwrap_or(at);
            out.extend(self.tokenizer.encode(&text[..cut], false)?);
            text = &text[cut..];
        }
        out.extend(self.tokenizer.encode(text, false)?);
        Ok(())
    }
}

/// Whether the white space at `at`, one byte, stands between characters that are none.
fn is_alone(text: &str, at: usize) -> bool {
    let solid = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
    solid(text[..at].chars().next_back()) && solid(text[at + 1..].chars().next())
}
