//! One choice of an answer, as it comes.

use super::error::{Answered, ApiError};
use super::pieces::{Pieces, Written};
use crate::error::Result;
use crate::generate::Finish;
use crate::generate::scheduler::Event;
use crate::model::Logprobs;
use serde_json::{Value, json};

/// The least log-probability that JSON has a number for, as OpenAI has it.
const LEAST: f32 = -9999.0;

/// A token and what the model says of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub written: Written,
    /// `None` of the first token of a prompt, of which the model says nothing.
    pub logprob: Option<f32>,
    /// The most likely tokens, best first.
    pub top: Vec<(Written, f32)>,
}

/// What an event adds to a choice.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Delta {
    pub text: String,
    /// `None` where nobody asked for them.
    pub entries: Option<Vec<Entry>>,
    pub finish: Option<Finish>,
}

/// A prompt that its answer begins with.
#[derive(Debug, Clone)]
pub(super) struct Echo {
    pub ids: Vec<u32>,
    pub text: String,
}

/// Tokens of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub prompt: usize,
    pub cached: usize,
    pub new: usize,
}

impl Usage {
    /// OpenAI's object.
    pub(super) fn json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.new,
            "total_tokens": self.prompt + self.new,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        })
    }
}

/// A choice that is being made.
#[derive(Debug, Clone, Default)]
pub(super) struct Choice {
    /// Taken when the prompt is read.
    pub echo: Option<Echo>,
    /// Whether tokens come with what the model says of them.
    pub logprobs: bool,
    /// Tokens of the prompt that were there already.
    pub cached: usize,
    /// New tokens so far.
    pub new: usize,
}

impl Choice {
    /// What an event adds, if anything.
    ///
    /// # Errors
    /// The failure that the event tells of, and those of the tokenizer.
    pub(super) fn delta(&mut self, pieces: &Pieces, event: Event) -> Answered<Option<Delta>> {
        match event {
            Event::Prompt { cached, logprobs } => {
                self.cached = cached;
                let Some(echo) = self.echo.take() else {
                    return Ok(None);
                };
                let entries = self.logprobs.then(|| prompt(pieces, &echo.ids, &logprobs));
                Ok(Some(Delta {
                    text: echo.text,
                    entries: entries.transpose().map_err(failed)?,
                    finish: None,
                }))
            }
            Event::Piece { piece, logprobs } => {
                self.new += 1;
                let entries = match logprobs.filter(|_| self.logprobs) {
                    Some(logprobs) => Some(vec![
                        entry(pieces, piece.id, Some(&logprobs)).map_err(failed)?,
                    ]),
                    None => None,
                };
                // text may be held back until more of it is certain
                let silent = piece.text.is_empty() && entries.is_none();
                Ok((!silent).then_some(Delta {
                    text: piece.text,
                    entries,
                    finish: None,
                }))
            }
            Event::Finished { finish, .. } => Ok(Some(Delta {
                finish: Some(finish),
                ..Delta::default()
            })),
            Event::Failed(error) => Err(failed(error)),
        }
    }
}

pub(super) fn failed(error: crate::Error) -> ApiError {
    ApiError::library(&error, "prompt")
}

/// The tokens of a prompt; of its first one the model says nothing.
fn prompt(pieces: &Pieces, ids: &[u32], logprobs: &[Logprobs]) -> Result<Vec<Entry>> {
    let said = std::iter::once(None).chain(logprobs.iter().map(Some));
    ids.iter()
        .zip(said)
        .map(|(&id, said)| entry(pieces, id, said))
        .collect()
}

fn entry(pieces: &Pieces, id: u32, said: Option<&Logprobs>) -> Result<Entry> {
    let top = said.map_or(&[][..], |said| &said.top);
    let top = top
        .iter()
        .map(|&(id, logprob)| Ok((pieces.written(id)?, logprob.max(LEAST))));
    Ok(Entry {
        written: pieces.written(id)?,
        logprob: said.map(|said| said.logprob.max(LEAST)),
        top: top.collect::<Result<_>>()?,
    })
}

/// OpenAI's word for why a choice ended.
pub(super) fn reason(finish: Option<Finish>) -> Value {
    match finish {
        None => Value::Null,
        Some(Finish::Length) => "length".into(),
        Some(Finish::Eos | Finish::Stop) => "stop".into(),
    }
}
