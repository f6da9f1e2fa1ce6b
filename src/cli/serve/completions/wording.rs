//! Completions in OpenAI's words.

use super::request::CompletionRequest;
use crate::cli::serve::choice::{Choice, Delta, Entry, Usage, reason};
use crate::cli::serve::error::Answered;
use crate::cli::serve::facts::{Facts, now};
use crate::cli::serve::reply::Wording;
use crate::generate::Finish;
use crate::generate::scheduler::Event;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The answer to a request for completions.
pub(super) struct Completion {
    facts: Arc<Facts>,
    id: String,
    created: u64,
    include_usage: bool,
    usage: Usage,
    /// Choices of each prompt.
    n: usize,
    choices: Vec<(Choice, Whole)>,
}

/// What a choice is so far.
#[derive(Default)]
struct Whole {
    text: String,
    logprobs: Option<Legacy>,
    finish: Option<Finish>,
    offset: Offset,
}

/// Log-probabilities as lists of equal lengths.
#[derive(Default)]
struct Legacy {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Vec<Value>,
    text_offset: Vec<usize>,
}

/// Where the next token stands in a text, in characters.
#[derive(Default)]
struct Offset {
    characters: usize,
    /// Whether it has a token, or is the middle of a text.
    begun: bool,
}

impl Offset {
    /// Where `bytes` stand that come next in a text that begins with `text`.
    fn advance(&mut self, bytes: &[u8], text: &str) -> usize {
        let mut bytes = bytes;
        if !bytes.is_empty() && !std::mem::replace(&mut self.begun, true) && !text.starts_with(' ')
        {
            // the first word of a text has no space, whatever its token has
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        let begins = |byte: &u8| byte & 0xC0 != 0x80;
        // a token may begin within a character
        let within = bytes.first().is_some_and(|byte| !begins(byte));
        let at = self.characters - usize::from(within && self.characters > 0);
        self.characters += bytes.iter().filter(|byte| begins(byte)).count();
        at
    }
}

impl Legacy {
    fn push(&mut self, entry: Entry, text: &str, offset: &mut Offset) {
        self.text_offset
            .push(offset.advance(&entry.written.bytes, text));
        self.top_logprobs.push(match entry.logprob {
            None => Value::Null,
            Some(own) => {
                let mut top = Map::new();
                for (written, logprob) in entry.top {
                    // of two tokens that are written alike the likelier one counts
                    top.entry(written.token).or_insert_with(|| logprob.into());
                }
                top.entry(entry.written.token.clone())
                    .or_insert_with(|| own.into());
                top.into()
            }
        });
        self.tokens.push(entry.written.token);
        self.token_logprobs.push(entry.logprob);
    }

    fn json(&self) -> Value {
        json!({
            "tokens": self.tokens,
            "token_logprobs": self.token_logprobs,
            "top_logprobs": self.top_logprobs,
            "text_offset": self.text_offset,
        })
    }
}

impl Whole {
    /// A choice that has not begun, with what there is of it.
    fn of(choice: Choice) -> (Choice, Self) {
        let offset = Offset {
            characters: 0,
            begun: choice.echo.is_none(),
        };
        let whole = Self {
            offset,
            ..Self::default()
        };
        (choice, whole)
    }

    /// The lists of entries that come next. Texts of prompts and their tokens come together, so that `text` is where the
    /// choice begins, or goes on.
    fn lists(&mut self, entries: Vec<Entry>, text: &str) -> Legacy {
        let mut lists = Legacy::default();
        for entry in entries {
            lists.push(entry, text, &mut self.offset);
        }
        lists
    }
}

impl Completion {
    pub(super) fn new(
        facts: Arc<Facts>,
        id: &str,
        request: &CompletionRequest,
        choices: Vec<Choice>,
        usage: Usage,
    ) -> Self {
        Self {
            facts,
            id: format!("cmpl-{id}"),
            created: now(),
            include_usage: request.common.include_usage,
            usage,
            n: request.common.n,
            choices: choices.into_iter().map(Whole::of).collect(),
        }
    }

    fn delta(&mut self, index: usize, event: Event) -> Answered<Option<Delta>> {
        match self.choices.get_mut(index) {
            Some((choice, _)) => choice.delta(&self.facts.pieces, event),
            None => Ok(None),
        }
    }

    /// Tokens in all. What is cached is counted with the first choice of each prompt, which all its choices share.
    fn usage(&self) -> Usage {
        let firsts = self.choices.iter().step_by(self.n);
        Usage {
            cached: firsts.map(|(choice, _)| choice.cached).sum(),
            new: self.choices.iter().map(|(choice, _)| choice.new).sum(),
            ..self.usage
        }
    }

    fn object(&self, choices: Value, usage: Option<Value>) -> Value {
        let mut object = json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.facts.id,
            "choices": choices,
        });
        if let Some(usage) = usage {
            object["usage"] = usage;
        }
        object
    }
}

fn choice(index: usize, text: &str, logprobs: Option<Value>, finish: Option<Finish>) -> Value {
    json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason(finish)})
}

impl Wording for Completion {
    fn first(&mut self) -> Vec<Value> {
        Vec::new()
    }

    fn chunk(&mut self, index: usize, event: Event) -> Answered<Option<Value>> {
        let Some(delta) = self.delta(index, event)? else {
            return Ok(None);
        };
        let Some((_, whole)) = self.choices.get_mut(index) else {
            return Ok(None);
        };
        let lists = delta
            .entries
            .map(|entries| whole.lists(entries, &delta.text).json());
        let choice = choice(index, &delta.text, lists, delta.finish);
        let usage = self.include_usage.then_some(Value::Null);
        Ok(Some(self.object(json!([choice]), usage)))
    }

    fn last(&mut self) -> Option<Value> {
        self.include_usage
            .then(|| self.object(json!([]), Some(self.usage().json())))
    }

    fn add(&mut self, index: usize, event: Event) -> Answered<()> {
        let Some(delta) = self.delta(index, event)? else {
            return Ok(());
        };
        let Some((choice, whole)) = self.choices.get_mut(index) else {
            return Ok(());
        };
        if choice.logprobs {
            let lists = whole.lists(delta.entries.unwrap_or_default(), &delta.text);
            let all = whole.logprobs.get_or_insert_default();
            all.tokens.extend(lists.tokens);
            all.token_logprobs.extend(lists.token_logprobs);
            all.top_logprobs.extend(lists.top_logprobs);
            all.text_offset.extend(lists.text_offset);
        }
        whole.text.push_str(&delta.text);
        whole.finish = delta.finish.or(whole.finish);
        Ok(())
    }

    fn whole(self) -> Value {
        let choices = self.choices.iter().enumerate();
        let choices = choices.map(|(index, (_, whole))| {
            let logprobs = whole.logprobs.as_ref().map(Legacy::json);
            choice(index, &whole.text, logprobs, whole.finish)
        });
        let choices: Vec<_> = choices.collect();
        self.object(choices.into(), Some(self.usage().json()))
    }
}
