//! The messages so far, and the model that answers them.

use super::command::{Command, HELP};
use super::{interrupt, out};
use crate::error::{Error, Result};
use crate::files::chat_template::{ChatInput, Moment};
use crate::generate::{Chat, Finish, Model, Timings};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Longest file of messages.
const LONGEST: u64 = 64 << 20;

/// A conversation.
pub(super) struct Conversation<'m> {
    model: &'m Model,
    chat: Chat<'m>,
    system: Option<String>,
    /// Without the system's.
    messages: Vec<Value>,
    /// Variables for the template.
    variables: Map<String, Value>,
    generate: crate::Generate,
    /// Answers so far, those that were thrown away as well: each draws with a seed of its own.
    answers: u64,
    last: Option<(Timings, Option<Finish>)>,
}

impl<'m> Conversation<'m> {
    /// A conversation that has not begun.
    pub(super) fn new(
        model: &'m Model,
        system: Option<String>,
        variables: Map<String, Value>,
        generate: crate::Generate,
    ) -> Result<Self> {
        Ok(Self {
            chat: model.chat()?,
            model,
            system,
            messages: Vec::new(),
            variables,
            generate,
            answers: 0,
            last: None,
        })
    }

    /// Does what a command says.
    pub(super) fn obey(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Help => out::note(HELP),
            Command::System(text) => self.system = text,
            Command::Reset => self.messages.clear(),
            Command::Save(file) => self.save(&file)?,
            Command::Load(file) => self.load(&file)?,
            Command::Stats => self.stats(),
            Command::Regenerate => {
                if self
                    .messages
                    .last()
                    .is_some_and(|last| last["role"] == "assistant")
                {
                    self.messages.pop();
                }
                if self.messages.is_empty() {
                    return Err(Error::usage(
                        "there is nothing to answer",
                        "say something first",
                    ));
                }
                self.answer()?;
            }
            Command::Exit => {}
        }
        Ok(())
    }

    /// Answers a message. Where that fails the message was never said.
    pub(super) fn say(&mut self, text: String) -> Result<()> {
        self.messages
            .push(json!({ "role": "user", "content": text }));
        let answered = self.answer();
        if answered.is_err() {
            self.messages.pop();
        }
        answered
    }

    /// All messages, that of the system first.
    fn all(&self) -> Vec<Value> {
        let system = self.system.as_ref();
        let system = system.map(|text| json!({ "role": "system", "content": text }));
        system
            .into_iter()
            .chain(self.messages.iter().cloned())
            .collect()
    }

    /// Prints the answer to the last message, and adds it to the messages, also if it was stopped.
    fn answer(&mut self) -> Result<()> {
        let input = ChatInput {
            messages: self.all(),
            add_generation_prompt: true,
            variables: self.variables.clone(),
            now: Some(now()),
            ..ChatInput::default()
        };
        let mut generate = self.generate.clone();
        generate.sampling.seed = generate.sampling.seed.wrapping_add(self.answers);
        generate.max_tokens = Some(self.room(&input, generate.max_tokens)?);
        self.answers += 1;
        interrupt::reset();
        let mut answer = self.chat.answer(&input, generate)?;
        let mut text = String::new();
        for piece in &mut answer {
            let piece = piece?.text;
            // A form without tokens for the turns leaves a space before the answer.
            let piece = if text.is_empty() {
                piece.trim_start()
            } else {
                &piece
            };
            out::print(piece)?;
            text.push_str(piece);
            if interrupt::stopped() {
                break;
            }
        }
        out::print("\n")?;
        self.last = Some((answer.timings(), answer.finish()));
        if answer.finish() == Some(Finish::Length) {
            out::note("note: the answer is as long as it may be and was cut off");
        }
        self.chat.keep(answer);
        self.messages
            .push(json!({ "role": "assistant", "content": text }));
        Ok(())
    }

    /// How many tokens an answer may have: as many as were asked for, and fit.
    fn room(&self, input: &ChatInput, asked: Option<usize>) -> Result<usize> {
        let prompt = self.chat.encode(input)?.len();
        let context = self.model.context();
        let room = context.saturating_sub(prompt);
        match room {
            0 => Err(Error::Context {
                prompt,
                new: 1,
                context,
            }),
            room => Ok(asked.map_or(room, |asked| asked.min(room))),
        }
    }

    fn save(&self, file: &Path) -> Result<()> {
        let messages = Value::Array(self.all());
        let text = format!("{messages:#}\n");
        out::save(file, text.as_bytes(), false).map_err(|e| Error::io(file, e))?;
        out::note(&format!(
            "{} messages are in {}",
            self.all().len(),
            file.display()
        ));
        Ok(())
    }

    fn load(&mut self, file: &Path) -> Result<()> {
        let size = std::fs::metadata(file)
            .map_err(|e| Error::io(file, e))?
            .len();
        let wrong = |what: &str| {
            let hint = "give a list of objects with `role` and `content`";
            Error::file(file.display().to_string(), what, hint)
        };
        if size > LONGEST {
            return Err(wrong("is too long"));
        }
        let bytes = std::fs::read(file).map_err(|e| Error::io(file, e))?;
        let messages: Vec<Value> =
            serde_json::from_slice(&bytes).map_err(|_| wrong("is no list of messages"))?;
        let role = |message: &Value| {
            message
                .get("role")
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        if let Some(at) = messages.iter().position(|message| role(message).is_none()) {
            return Err(wrong(&format!("has no `role` in message {at}")));
        }
        let (system, messages) = match messages.split_first() {
            Some((first, rest))
                if role(first).as_deref() == Some("system") && first["content"].is_string() =>
            {
                (first["content"].as_str().map(str::to_owned), rest.to_vec())
            }
            _ => (None, messages),
        };
        out::note(&format!(
            "{} messages were read",
            messages.len() + usize::from(system.is_some())
        ));
        (self.system, self.messages) = (system, messages);
        Ok(())
    }

    fn stats(&self) {
        let Some((times, finish)) = &self.last else {
            return out::note("there was no answer yet");
        };
        let rate = times.decode_tokens_per_second();
        let rate = rate
            .map(|rate| format!(", {rate:.1} tokens/s"))
            .unwrap_or_default();
        let end = match finish {
            Some(Finish::Length) => "cut off",
            Some(Finish::Eos) => "ended",
            Some(Finish::Stop) => "ended at a stop string",
            None => "stopped",
        };
        out::note(&format!(
            "prompt: {} tokens, {} of them there already, first token after {:.3} s; answer: {} tokens{rate}, {end}; context: {} of {}",
            times.prompt_tokens,
            times.cached_tokens,
            times.first_token.as_secs_f64(),
            times.new_tokens,
            times.prompt_tokens + times.new_tokens,
            self.model.context(),
        ));
    }
}

/// The time here, as a clock on the wall shows it.
fn now() -> Moment {
    let now = chrono::Local::now().naive_local().and_utc();
    Moment::from_seconds(now.timestamp())
}
