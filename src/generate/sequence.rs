//! One sequence as it grows: its ids, the pieces of text that are certain, and why it ended.

use super::stop::StopFilter;
use crate::error::Result;
use crate::files::Tokenizer;
use crate::files::tokenizer::Stream;
use serde::Serialize;
use std::time::Duration;

/// One new token and the text that became certain with it.
///
/// All pieces of a sequence, one after the other, are its text. A piece may be empty: a character can be spread over
/// several tokens, and what might be the beginning of a stop string is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Id of the token.
    pub id: u32,
    /// The text.
    pub text: String,
}

impl std::fmt::Display for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// It has as many new tokens as were asked for.
    Length,
    /// The model chose an end token, which is the last of the ids.
    Eos,
    /// A stop string came; the ids go on to the end of the token that completed it.
    Stop,
}

/// How long the parts of a sequence took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timings {
    /// Compiling the kernels that the prompt and decoding need; next to nothing from the second sequence on.
    pub prepare: Duration,
    /// From the prompt's ids to the first new token.
    pub first_token: Duration,
    /// From the first new token to the last one so far.
    pub decode: Duration,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the prompt that were there already, from an answer before.
    pub cached_tokens: usize,
    /// New tokens.
    pub new_tokens: usize,
    /// Tokens that were drafted.
    pub drafted: usize,
    /// Drafted tokens that the whole model would have chosen, too.
    pub accepted: usize,
}

impl Timings {
    /// Tokens of the prompt that were processed, per second.
    pub fn prompt_tokens_per_second(&self) -> f64 {
        (self.prompt_tokens - self.cached_tokens) as f64 / self.first_token.as_secs_f64()
    }

    /// New tokens per second, the first one aside; `None` while there is no other.
    pub fn decode_tokens_per_second(&self) -> Option<f64> {
        let later = self.new_tokens.checked_sub(1).filter(|&n| n > 0)?;
        Some(later as f64 / self.decode.as_secs_f64())
    }
}

/// A sequence that grows token by token.
pub(super) struct Sequence<'m> {
    pub prompt_ids: Vec<u32>,
    pub ids: Vec<u32>,
    pub finish: Option<Finish>,
    /// `None` without a tokenizer: then all text is empty.
    stream: Option<Stream<'m>>,
    filter: StopFilter,
    pub eos: Vec<u32>,
    pub max_tokens: usize,
}

impl<'m> Sequence<'m> {
    /// A sequence that begins with `prompt_ids` and may get `max_tokens` more tokens.
    pub(super) fn new(
        tokenizer: Option<&'m Tokenizer>,
        eos: Vec<u32>,
        prompt_ids: Vec<u32>,
        max_tokens: usize,
        stop: Vec<String>,
    ) -> Result<Self> {
        let stream = tokenizer.map(|t| t.stream(&prompt_ids)).transpose()?;
        Ok(Self {
            prompt_ids,
            ids: Vec::new(),
            finish: (max_tokens == 0).then_some(Finish::Length),
            stream,
            filter: StopFilter::new(stop),
            eos,
            max_tokens,
        })
    }

    /// Tokens that it may have, those of the prompt included.
    pub(super) fn longest(&self) -> usize {
        self.prompt_ids.len() + self.max_tokens
    }

    /// How many tokens it may still get.
    pub(super) fn room(&self) -> usize {
        self.max_tokens - self.ids.len()
    }

    /// Takes the next token. A sequence that has ended takes none.
    pub(super) fn push(&mut self, id: u32) -> Result<Piece> {
        self.ids.push(id);
        let mut text = String::new();
        if self.eos.contains(&id) {
            self.finish = Some(Finish::Eos);
        } else if let Some(stream) = &mut self.stream {
            text = self.filter.push(&stream.push(id)?);
        }
        if self.filter.stopped() {
            self.finish = Some(Finish::Stop);
        } else if self.finish.is_none() && self.ids.len() == self.max_tokens {
            self.finish = Some(Finish::Length);
        }
        if self.finish.is_some() {
            text.push_str(&self.rest()?);
        }
        Ok(Piece { id, text })
    }

    /// The text that was held back, once nothing more will come.
    fn rest(&mut self) -> Result<String> {
        let last = match self.stream.take() {
            Some(stream) => stream.finish()?,
            None => String::new(),
        };
        let mut rest = self.filter.push(&last);
        if self.filter.stopped() {
            // A character that is complete only now may complete a stop string.
            self.finish = Some(Finish::Stop);
        }
        rest.push_str(&self.filter.finish());
        Ok(rest)
    }
}
