//! The tokens of a GGUF file: texts, kinds, and scores.

use super::super::keys::Keys;
use super::super::value::Value as Stored;
use super::bad;
use crate::error::Result;
use crate::files::json::show;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A piece of a text.
    Normal,
    /// What a text is cut into only where it has nothing else for it.
    Unknown,
    /// A special token.
    Control,
    /// Text that is one token before anything else is looked at.
    UserDefined,
    /// A place without a meaning.
    Unused,
    /// One byte.
    Byte,
}

/// All tokens.
pub(super) struct Table<'a> {
    texts: Vec<&'a str>,
    kinds: Vec<Kind>,
    /// Scores of SentencePiece, where larger ones are merged first.
    pub(super) scores: Option<Vec<f32>>,
    ids: HashMap<&'a str, u32>,
}

impl<'a> Table<'a> {
    /// The table of a file.
    ///
    /// # Errors
    /// [`crate::Error::Config`] and [`crate::Error::File`] for lists that are missing, too short, or name a token twice.
    pub(super) fn of(keys: &Keys<'a>) -> Result<Self> {
        let list = |name: &str| keys.any(name).and_then(Stored::array);
        let name = "tokenizer.ggml.tokens";
        let texts = list(name).and_then(|list| list.texts());
        let texts = texts.ok_or_else(|| keys.error_of(name, "is no list of tokens"))?;
        let texts: Vec<&str> = texts.collect();
        let numbers = |name: &str| -> Result<Option<Vec<f64>>> {
            let Some(list) = list(name) else {
                return Ok(None);
            };
            let numbers = list.numbers().map(Iterator::collect::<Vec<_>>);
            match numbers.filter(|numbers| numbers.len() >= texts.len()) {
                Some(numbers) => Ok(Some(numbers)),
                None => Err(keys.error_of(name, "is no list of a number for each token")),
            }
        };
        let kinds = numbers("tokenizer.ggml.token_type")?;
        let kinds = match kinds {
            Some(kinds) => kinds.into_iter().map(kind).collect(),
            None => vec![Kind::Normal; texts.len()],
        };
        let scores = numbers("tokenizer.ggml.scores")?;
        let scores = scores.map(|all| all.into_iter().map(|score| score as f32).collect());
        let mut ids = HashMap::new();
        for (id, text) in (0u32..).zip(&texts) {
            if let Some(other) = ids.insert(*text, id) {
                let what = format!("token `{}` has ids {other} and {id}", show(text));
                return Err(bad(keys, what));
            }
        }
        Ok(Self {
            texts,
            kinds,
            scores,
            ids,
        })
    }

    /// The text of a token.
    pub(super) fn text(&self, id: u32) -> Option<&'a str> {
        self.texts.get(id as usize).copied()
    }

    /// The token with this text, if it is a special one.
    pub(super) fn control(&self, text: &str) -> Option<u32> {
        let id = *self.ids.get(text)?;
        (self.kinds.get(id as usize) == Some(&Kind::Control)).then_some(id)
    }

    /// The first token of a kind.
    pub(super) fn first(&self, kind: Kind) -> Option<u32> {
        let at = self.kinds.iter().position(|one| *one == kind)?;
        u32::try_from(at).ok()
    }

    /// The token with this text, if texts are cut into it.
    pub(super) fn piece(&self, text: &str) -> Option<u32> {
        let id = *self.ids.get(text)?;
        let kind = self.kinds.get(id as usize)?;
        matches!(kind, Kind::Normal | Kind::UserDefined).then_some(id)
    }

    /// Ids, texts and kinds of all tokens.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &'a str, Kind)> {
        let all = self.texts.iter().zip(&self.kinds);
        (0..).zip(all).map(|(id, (text, kind))| (id, *text, *kind))
    }

    /// `vocab` of `tokenizer.json`: all tokens, so that each has its id.
    pub(super) fn vocabulary(&self) -> Map<String, Value> {
        let all = self.iter();
        all.map(|(id, text, _)| (text.to_owned(), id.into()))
            .collect()
    }

    /// `added_tokens` of `tokenizer.json`: what is looked for in a text before it is cut.
    pub(super) fn added(&self) -> Vec<Value> {
        let added = self.iter().filter(|(_, text, kind)| {
            let looked_for = matches!(kind, Kind::Control | Kind::UserDefined | Kind::Unknown);
            looked_for && !text.is_empty()
        });
        let value = |(id, text, kind): (u32, &str, Kind)| {
            json!({
                "id": id,
                "content": text,
                "single_word": false,
                "lstrip": false,
                "rstrip": false,
                "normalized": false,
                "special": kind != Kind::UserDefined,
            })
        };
        added.map(value).collect()
    }
}

/// The kind with this number; unknown ones are pieces of a text.
fn kind(number: f64) -> Kind {
    match number as i64 {
        2 => Kind::Unknown,
        3 => Kind::Control,
        4 => Kind::UserDefined,
        5 => Kind::Unused,
        6 => Kind::Byte,
        _ => Kind::Normal,
    }
}
