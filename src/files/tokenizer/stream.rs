//! Text from tokens that come one by one.

use super::Tokenizer;
use crate::error::Result;

impl Tokenizer {
    /// A decoder for tokens that follow `prompt` and come one by one.
    pub fn stream(&self, prompt: &[u32]) -> Result<Stream<'_>> {
        let window = prompt.to_vec();
        let shown = complete(&self.decode(&window)?).to_owned();
        Ok(Stream {
            tokenizer: self,
            done: window.len(),
            window,
            shown,
        })
    }
}

/// Text of tokens as they come: complete characters only, the same characters that decoding everything at once
/// would give.
///
/// Tokens are decoded together with those before them that gave the last piece of text, because the text of a token
/// depends on its neighbours (a leading space is dropped only at the very beginning; a character may be spread over
/// several byte tokens).
///
/// `tokenizers::DecodeStream` is not used: it has no end that gives out what it holds back, holds broken bytes back for
/// ever, and fails where a later byte makes a shown character part of a broken run.
pub struct Stream<'t> {
    tokenizer: &'t Tokenizer,
    /// Tokens decoded together: the last ones shown, and those not shown yet.
    window: Vec<u32>,
    /// Tokens of the window that were shown.
    done: usize,
    /// Their text.
    shown: String,
}

/// What a decoder writes for bytes that are not (yet) a character.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

impl Stream<'_> {
    /// Tokens that are held back at most. A character has at most four bytes, so that an unfinished one is finished or
    /// broken after four tokens; more are waited for because the library's decoder may mend broken runs.
    const MOST_HELD: usize = 12;

    /// Takes the next token; returns the text that is now certain (often one word, sometimes nothing).
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.window.push(id);
        let text = self.tokenizer.decode(&self.window)?;
        let held = self.window.len() - self.done;
        if text.ends_with(REPLACEMENT) && held < Self::MOST_HELD {
            return Ok(String::new());
        }
        self.show(&text)
    }

    /// Ends the text; returns what was held back.
    pub fn finish(mut self) -> Result<String> {
        let text = self.tokenizer.decode(&self.window)?;
        self.show(&text)
    }

    /// Emits what `text`, the text of the window, has beyond what was shown.
    fn show(&mut self, text: &str) -> Result<String> {
        let new = match text.strip_prefix(self.shown.as_str()) {
            Some(new) => new.to_owned(),
            // Bytes that were shown as a character now belong to a broken run: decode the rest by itself.
            None => self.tokenizer.decode(&self.window[self.done..])?,
        };
        if !new.is_empty() {
            self.window.drain(..self.done);
            self.done = self.window.len();
            self.shown = self.tokenizer.decode(&self.window)?;
        }
        Ok(new)
    }
}

/// `text` without an unfinished character at its end.
fn complete(text: &str) -> &str {
    text.trim_end_matches(REPLACEMENT)
}
