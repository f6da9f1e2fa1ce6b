//! Chats in OpenAI's words.

use crate::cli::serve::choice::{Choice, Delta, Entry, Usage, reason};
use crate::cli::serve::error::Answered;
use crate::cli::serve::facts::{Facts, now};
use crate::cli::serve::pieces::Written;
use crate::cli::serve::reply::Wording;
use crate::generate::Finish;
use crate::generate::scheduler::Event;
use serde_json::{Value, json};
use std::sync::Arc;

/// The answer to a chat.
pub(super) struct Chat {
    facts: Arc<Facts>,
    id: String,
    created: u64,
    include_usage: bool,
    /// Tokens of the prompt.
    prompt: usize,
    choices: Vec<(Choice, Whole)>,
}

/// What a choice is so far.
#[derive(Default)]
struct Whole {
    text: String,
    logprobs: Vec<Value>,
    finish: Option<Finish>,
}

impl Chat {
    pub(super) fn new(
        facts: Arc<Facts>,
        id: &str,
        include_usage: bool,
        choices: Vec<Choice>,
        prompt: usize,
    ) -> Self {
        Self {
            facts,
            id: format!("chatcmpl-{id}"),
            created: now(),
            include_usage,
            prompt,
            choices: choices
                .into_iter()
                .map(|choice| (choice, Whole::default()))
                .collect(),
        }
    }

    fn delta(&mut self, index: usize, event: Event) -> Answered<Option<Delta>> {
        match self.choices.get_mut(index) {
            Some((choice, _)) => choice.delta(&self.facts.pieces, event),
            None => Ok(None),
        }
    }

    fn usage(&self) -> Value {
        let new = self.choices.iter().map(|(choice, _)| choice.new);
        let usage = Usage {
            prompt: self.prompt,
            cached: self.choices.first().map_or(0, |(choice, _)| choice.cached),
            new: new.sum(),
        };
        usage.json()
    }

    fn object(&self, kind: &str, choices: Value, usage: Option<Value>) -> Value {
        let mut object = json!({
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.facts.id,
            "system_fingerprint": self.facts.fingerprint(),
            "choices": choices,
        });
        if let Some(usage) = usage {
            object["usage"] = usage;
        }
        object
    }

    fn chunk_of(
        &self,
        index: usize,
        delta: Value,
        logprobs: Value,
        finish: Option<Finish>,
    ) -> Value {
        let choice = json!({
            "index": index,
            "delta": delta,
            "logprobs": logprobs,
            "finish_reason": reason(finish),
        });
        let usage = self.include_usage.then_some(Value::Null);
        self.object("chat.completion.chunk", json!([choice]), usage)
    }
}

/// A token with its bytes; control tokens have none.
fn token(written: &Written, logprob: f32) -> Value {
    let bytes = (!written.bytes.is_empty()).then_some(&written.bytes);
    json!({"token": written.token, "logprob": logprob, "bytes": bytes})
}

fn entry(entry: &Entry) -> Value {
    let mut own = token(&entry.written, entry.logprob.unwrap_or_default());
    let top = entry
        .top
        .iter()
        .map(|(written, logprob)| token(written, *logprob));
    own["top_logprobs"] = top.collect();
    own
}

fn logprobs(content: &[Value]) -> Value {
    json!({"content": content, "refusal": null})
}

impl Wording for Chat {
    fn first(&mut self) -> Vec<Value> {
        let begun = json!({"role": "assistant", "content": "", "refusal": null});
        let chunk = |index| self.chunk_of(index, begun.clone(), Value::Null, None);
        (0..self.choices.len()).map(chunk).collect()
    }

    fn chunk(&mut self, index: usize, event: Event) -> Answered<Option<Value>> {
        let Some(delta) = self.delta(index, event)? else {
            return Ok(None);
        };
        let entries = delta.entries.map(|entries| {
            let content: Vec<_> = entries.iter().map(entry).collect();
            logprobs(&content)
        });
        let content = match delta.finish {
            Some(_) => json!({}),
            None => json!({"content": delta.text}),
        };
        let entries = entries.unwrap_or_default();
        Ok(Some(self.chunk_of(index, content, entries, delta.finish)))
    }

    fn last(&mut self) -> Option<Value> {
        let usage = self.include_usage.then(|| self.usage())?;
        Some(self.object("chat.completion.chunk", json!([]), Some(usage)))
    }

    fn add(&mut self, index: usize, event: Event) -> Answered<()> {
        let Some(delta) = self.delta(index, event)? else {
            return Ok(());
        };
        if let Some((_, whole)) = self.choices.get_mut(index) {
            whole.text.push_str(&delta.text);
            whole
                .logprobs
                .extend(delta.entries.iter().flatten().map(entry));
            whole.finish = delta.finish.or(whole.finish);
        }
        Ok(())
    }

    fn whole(self) -> Value {
        let choices = self.choices.iter().enumerate();
        let choices = choices.map(|(index, (choice, whole))| {
            json!({
                "index": index,
                "message": {"role": "assistant", "content": whole.text, "refusal": null},
                "logprobs": choice.logprobs.then(|| logprobs(&whole.logprobs)),
                "finish_reason": reason(whole.finish),
            })
        });
        let choices = choices.collect();
        self.object("chat.completion", choices, Some(self.usage()))
    }
}
