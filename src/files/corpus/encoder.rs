//! Text to tokens at the speed of a look-up.
//!
//! The `tokenizers` library takes about 1.7 us a word (3.3 MB/s): it copies every word into a string of its own with
//! the origin of each character. Words come again and again, so the library is asked once for each and the answer is
//! kept. That is exact only where a tokenizer looks at words one by one; which ones do, and where their text may be
//! cut, is read from `tokenizer.json` ([`Cut`]). All others get whole documents.

use super::words::Words;
use crate::error::Result;
use crate::files::Tokenizer;
use serde_json::Value;
use std::collections::HashMap;

/// Where a text may be cut without changing its tokens. Added tokens are found before anything else, and what stands
/// between two of them is cut as a text of its own.
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
    /// Before a space alone, which becomes the mark that a text would get that begins without one (Metaspace).
    Spaced(Added),
}

/// Tokens that are found in a text before it is split into words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    tokens: Vec<String>,
    /// Bytes that one of them begins with.
    first: [bool; 256],
    /// Whether what stands between them has the tokens that it has as a text of its own.
    apart: bool,
}

impl Added {
    fn new(tokens: Vec<String>, apart: bool) -> Self {
        let mut first = [false; 256];
        for token in &tokens {
            first[usize::from(token.as_bytes()[0])] = true;
        }
        Self {
            tokens,
            first,
            apart,
        }
    }

    /// Whether one begins at `at`.
    fn begins(&self, bytes: &[u8], at: usize) -> bool {
        let rest = &bytes[at..];
        let first = rest.first().is_some_and(|&b| self.first[usize::from(b)]);
        first && self.tokens.iter().any(|t| rest.starts_with(t.as_bytes()))
    }

    /// Whether there is one in `text`.
    fn is_in(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        (0..bytes.len()).any(|at| self.begins(bytes, at))
    }

    /// Bytes of the longest.
    fn longest(&self) -> usize {
        self.tokens.iter().map(String::len).max().unwrap_or(0)
    }
}

/// What LLaMA 2 writes for a space.
const MARK: char = '\u{2581}';

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
        let tokens = tokenizer["added_tokens"].as_array().unwrap_or(&empty);
        let content = |t: &Value| plain(t).map(str::to_owned);
        let added: Option<Vec<String>> = tokens.iter().map(content).collect();
        let once = takes_text_once(&tokenizer["post_processor"]);
        let Some(added) = added.filter(|_| bpe && once && model["dropout"].is_null()) else {
            return Self::Never;
        };
        // Whether a token is a single word depends on its neighbours.
        let apart = tokens.iter().all(|t| t["single_word"] != true);
        let (normalizer, splitter) = (&tokenizer["normalizer"], &tokenizer["pre_tokenizer"]);
        if normalizer.is_null() && is_byte_level(splitter) {
            return Self::Words(Added::new(added, apart));
        }
        if !merges_words(model) {
            return Self::Never;
        }
        if splitter.is_null() && marks_spaces(normalizer) {
            // Those that are looked for behind the normalizer take the mark with them.
            let apart = apart && tokens.iter().all(|t| t["normalized"] == false);
            return Self::Marked(Added::new(added, apart));
        }
        if normalizer.is_null()
            && splitter["type"] == "Metaspace"
            && splitter["replacement"] == "\u{2581}"
        {
            // A text that begins behind an added token gets no mark then.
            let apart = apart && splitter["prepend_scheme"] != "first";
            return Self::Spaced(Added::new(added, apart));
        }
        Self::Never
    }

    fn added(&self) -> Option<&Added> {
        match self {
            Self::Never => None,
            Self::Words(added) | Self::Marked(added) | Self::Spaced(added) => Some(added),
        }
    }

    /// A place in `text`, not before `from`, where what follows may be tokenized apart from what is before it, as the
    /// next piece of the same text ([`Encoder::encode`]). Near the end of `text` none is found: what comes next
    /// matters.
    pub fn place(&self, text: &[u8], from: usize) -> Option<usize> {
        let added = self.added()?;
        let last = text.len().checked_sub(self.lookahead())?;
        (from.max(1)..last).find(|&at| {
            let space = text[at] == b' ';
            let line = matches!(self, Self::Words(_)) && text[at - 1] == b'\n';
            let before = if space { at } else { at - 1 };
            let after = if space { at + 1 } else { at };
            (space || line)
                && is_solid(char_before(text, before))
                && is_solid(char_at(text, after))
                && !added.begins(text, after)
                && !added
                    .tokens
                    .iter()
                    .any(|t| text[..before].ends_with(t.as_bytes()))
        })
    }

    /// Bytes behind a place to cut that have to be known.
    pub(super) fn lookahead(&self) -> usize {
        self.added().map_or(0, Added::longest).max(4) + 1
    }
}

/// The letters of an added token, if the text has them wherever the token is found.
fn plain(token: &Value) -> Option<&str> {
    let content = token["content"].as_str()?;
    let other = |c: char| c.is_whitespace() || c == MARK;
    (!content.is_empty() && !content.contains(other)).then_some(content)
}

/// Whether the post-processor leaves the tokens of a text as they are, special tokens aside.
fn takes_text_once(processor: &Value) -> bool {
    let kind = processor["type"].as_str().unwrap_or_default();
    match kind {
        "ByteLevel" | "BertProcessing" | "RobertaProcessing" => true,
        "TemplateProcessing" => {
            let empty = Vec::new();
            let pieces = processor["single"].as_array().unwrap_or(&empty);
            pieces
                .iter()
                .filter(|p| p.get("Sequence").is_some())
                .count()
                == 1
        }
        "Sequence" => {
            let all = processor["processors"].as_array();
            all.is_some_and(|all| all.iter().all(takes_text_once))
        }
        _ => processor.is_null(),
    }
}

/// Whether merging stops at every space alone: the mark that stands for it is a token, no token has it behind another
/// character, and none has a form of its own at the beginning or the end of a text.
fn merges_words(model: &Value) -> bool {
    let none = |field: &str| model[field].is_null() || model[field] == "";
    let begins = |token: &String| !token.trim_start_matches(MARK).contains(MARK);
    let vocab = model["vocab"].as_object();
    none("continuing_subword_prefix")
        && none("end_of_word_suffix")
        && model["ignore_merges"] != true
        && vocab.is_some_and(|v| v.contains_key("\u{2581}") && v.keys().all(begins))
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
        && prepend["prepend"] == "\u{2581}"
        && replace["type"] == "Replace"
        && replace["pattern"]["String"] == " "
        && replace["content"] == "\u{2581}"
}

/// A tokenizer with a memory; every worker has its own, and asks the others' before it asks the library.
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    cut: &'a Cut,
    shared: &'a Words,
    /// Where the tokens of a word lie in `ids`.
    words: HashMap<Box<str>, (u32, u32)>,
    ids: Vec<u32>,
}

/// Words a worker keeps for itself; all are forgotten when there are more. About 4 MB.
const OWN_WORDS: usize = 1 << 15;
/// Longest word kept, in bytes.
const LONGEST_WORD: usize = 64;

impl<'a> Encoder<'a> {
    /// An encoder that knows what `shared` knows.
    pub fn new(tokenizer: &'a Tokenizer, cut: &'a Cut, shared: &'a Words) -> Self {
        Self {
            tokenizer,
            cut,
            shared,
            words: HashMap::new(),
            ids: Vec::new(),
        }
    }

    /// Appends the tokens of `text`, no specials added: exactly what the library gives for it. `begins` says that it
    /// is not the next piece of a longer text, cut at a [`Cut::place`]. What cannot be cut is asked for as a whole,
    /// which takes the library some 200 bytes for each byte of the text.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode(&mut self, mut text: &str, begins: bool, out: &mut Vec<u32>) -> Result<()> {
        self.tokenizer.refuse_beyond(text)?;
        let Some(added) = self.cut.added() else {
            return self.ask(text, out);
        };
        if !begins && matches!(self.cut, Cut::Marked(_)) {
            text = text.strip_prefix(' ').unwrap_or(text);
        }
        if !added.is_in(text) {
            return self.words(text, out);
        }
        if !added.apart {
            return self.ask(text, out);
        }
        for (part, id) in self.tokenizer.parts(text)? {
            match id {
                Some(id) => out.push(id),
                None => self.words(&text[part], out)?,
            }
        }
        Ok(())
    }

    /// The tokens of a text without added tokens, word by word.
    fn words(&mut self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let by_words = matches!(self.cut, Cut::Words(_));
        // The tokenizer puts the mark back that stands for the space.
        let dropped = usize::from(matches!(self.cut, Cut::Marked(_)));
        let bytes = text.as_bytes();
        let mut start = 0;
        for at in 1..bytes.len() {
            let (here, next) = match bytes[at] {
                b' ' if is_alone(text, at) => (at, at + dropped),
                _ if !by_words => continue,
                b'\n' if is_alone(text, at) => (at + 1, at + 1),
                b'\'' => continue,
                b if b.is_ascii_punctuation() && bytes[at - 1].is_ascii_alphabetic() => (at, at),
                _ => continue,
            };
            self.word(&text[start..here], out)?;
            start = next;
        }
        self.word(&text[start..], out)
    }

    fn word(&mut self, word: &str, out: &mut Vec<u32>) -> Result<()> {
        if let Some(&(from, to)) = self.words.get(word) {
            out.extend_from_slice(&self.ids[from as usize..to as usize]);
            return Ok(());
        }
        let before = out.len();
        if word.len() > LONGEST_WORD {
            return self.ask(word, out);
        }
        if !self.shared.find(word, out) {
            self.ask(word, out)?;
            self.shared.insert(word, &out[before..]);
        }
        if self.words.len() >= OWN_WORDS {
            self.words.clear();
            self.ids.clear();
        }
        let from = self.ids.len() as u32;
        self.ids.extend_from_slice(&out[before..]);
        self.words
            .insert(word.into(), (from, self.ids.len() as u32));
        Ok(())
    }

    fn ask(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        out.extend(self.tokenizer.encode(text, false)?);
        Ok(())
    }
}

/// Whether the white space at `at`, one byte, stands between solid characters.
fn is_alone(text: &str, at: usize) -> bool {
    is_solid(text[..at].chars().next_back()) && is_solid(text[at + 1..].chars().next())
}

/// Whether a character is there and is neither white space nor the mark for it, which merges with its like.
fn is_solid(c: Option<char>) -> bool {
    c.is_some_and(|c| !c.is_whitespace() && c != MARK)
}

/// The character of a UTF-8 text that ends at `at`; `None` where bytes are no text.
fn char_before(text: &[u8], at: usize) -> Option<char> {
    let from = (at.saturating_sub(4)..at)
        .rev()
        .find(|&i| text[i] & 0xC0 != 0x80)?;
    std::str::from_utf8(&text[from..at])
        .ok()?
        .chars()
        .next_back()
}

/// The character of a UTF-8 text that begins at `at`; `None` where bytes are no text.
fn char_at(text: &[u8], at: usize) -> Option<char> {
    let to = (at + 1..=at + 4).find(|&i| text.get(i).is_none_or(|b| b & 0xC0 != 0x80))?;
    std::str::from_utf8(text.get(at..to)?).ok()?.chars().next()
}
