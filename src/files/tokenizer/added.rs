//! Added tokens that other files than `tokenizer.json` name.
//!
//! Precedence is that of transformers 5: `added_tokens_decoder` of `tokenizer_config.json` counts, or `added_tokens.json`
//! where there is none. A token that `tokenizer.json` knows keeps the id it has there and gets the flags stated here.
//! Ids that cannot be are refused, where transformers appends the token behind the vocabulary, with an embedding that
//! was never trained.

use crate::error::{Error, Result};
use crate::files::json::show;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use tokenizers::AddedToken;

/// The place of a file, for messages, and the JSON object in it.
pub(super) type Object = (String, Map<String, Value>);

/// Fields that name one special token each.
const NAMED: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
/// Fields that list special tokens.
const LISTED: [&str; 2] = ["extra_special_tokens", "additional_special_tokens"];
const HINT: &str = "take the tokenizer's files from one model";

/// What the files beside `tokenizer.json` say of added tokens.
#[derive(Default)]
pub(super) struct Stated {
    /// The file that gives the ids.
    file: String,
    /// Tokens at their ids.
    tokens: BTreeMap<u32, AddedToken>,
    /// What those tokens are in a text.
    contents: BTreeSet<String>,
    /// Tokens that are special, without an id.
    special: Vec<AddedToken>,
    /// Whether tokens of `tokenizer.json` at the same id win.
    legacy: bool,
}

impl Stated {
    /// Reads `tokenizer_config.json`, `added_tokens.json` and `special_tokens_map.json`, as far as they are there.
    ///
    /// # Errors
    /// [`Error::File`] for ids that are none, or that two tokens have, and for tokens that have two.
    pub(super) fn of(
        settings: Option<&Object>,
        added: Option<&Object>,
        map: Option<&Object>,
    ) -> Result<Self> {
        let decoder = settings.and_then(|(file, fields)| {
            let value = fields.get("added_tokens_decoder");
            Some((file, value.filter(|v| !v.is_null())?))
        });
        // transformers looks at the older file only where the newer field is missing.
        let map = map.filter(|_| decoder.is_none());
        let sources = [settings, map];
        let special: Vec<AddedToken> = sources
            .into_iter()
            .flatten()
            .flat_map(|(_, fields)| specials(fields))
            .collect();
        let names: BTreeSet<&str> = special.iter().map(|t| t.content.as_str()).collect();
        let mut stated = Self::default();
        if let Some((file, value)) = decoder {
            stated.file = file.to_owned();
            stated.decoder(value, &names)?;
        } else if let Some((file, fields)) = added {
            stated.file = file.to_owned();
            stated.legacy = true;
            for (content, id) in fields {
                let special = names.contains(content.as_str());
                let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
                let id = id.ok_or_else(|| stated.bad(content, "has no id"))?;
                stated.insert(id, AddedToken::from(content.as_str(), special))?;
            }
        }
        stated.special = special;
        Ok(stated)
    }

    fn decoder(&mut self, value: &Value, names: &BTreeSet<&str>) -> Result<()> {
        let Some(tokens) = value.as_object() else {
            let what = "`added_tokens_decoder` is not an object";
            return Err(Error::file(&self.file, what, HINT));
        };
        for (id, value) in tokens {
            let known = id.parse().ok().zip(token(value));
            let (id, mut token) = known.ok_or_else(|| {
                let what = format!("`added_tokens_decoder`: `{}` is no token", show(id));
                Error::file(&self.file, what, HINT)
            })?;
            token.special |= names.contains(token.content.as_str());
            self.insert(id, token)?;
        }
        Ok(())
    }

    fn bad(&self, token: &str, what: &str) -> Error {
        Error::file(&self.file, format!("token `{}` {what}", show(token)), HINT)
    }

    fn insert(&mut self, id: u32, token: AddedToken) -> Result<()> {
        let content = token.content.clone();
        if content.is_empty() {
            return Ok(()); // as the library does
        }
        if !self.contents.insert(content.clone()) {
            return Err(self.bad(&content, "has two ids"));
        }
        match self.tokens.insert(id, token) {
            None => Ok(()),
            Some(other) => {
                let what = format!("has id {id}, and so has `{}`", show(&other.content));
                Err(self.bad(&content, &what))
            }
        }
    }

    /// Adds the tokens to `tokenizer`. Those whose ids are not below `vocab` have no embedding; they are returned
    /// instead.
    ///
    /// # Errors
    /// [`Error::File`] when a new token cannot have its id.
    pub(super) fn add(
        &self,
        tokenizer: &mut tokenizers::Tokenizer,
        vocab: usize,
    ) -> Result<Vec<String>> {
        let before = tokenizer.get_added_tokens_decoder();
        let (mut tokens, mut placed, mut beyond) = (Vec::new(), Vec::new(), Vec::new());
        let mut next = next_id(tokenizer);
        for (&id, token) in &self.tokens {
            if self.legacy && before.contains_key(&id) {
                continue;
            }
            if tokenizer.token_to_id(&token.content).is_none() {
                if id as usize >= vocab {
                    beyond.push(token.content.clone());
                    continue;
                }
                if id.saturating_sub(next) > LARGEST_GAP {
                    return Err(
                        self.bad(&token.content, &format!("has id {id}, far from all others"))
                    );
                }
                // The library gives ids one after the other; a gap is filled with what no text holds.
                tokens.extend((next..id).map(filler));
                placed.push((id, token));
                next = next.max(id) + 1;
            }
            tokens.push(token.clone());
        }
        let known = |t: &&AddedToken| {
            !self.contents.contains(&t.content)
                && before.values().all(|b| b.content != t.content)
                && tokenizer.token_to_id(&t.content).is_some()
        };
        tokens.extend(self.special.iter().filter(known).cloned());
        if let Some((id, token)) = placed
            .iter()
            .find(|(id, _)| tokenizer.id_to_token(*id).is_some())
        {
            let other = show(&tokenizer.id_to_token(*id).unwrap_or_default());
            return Err(self.bad(
                &token.content,
                &format!("has id {id}, which is that of `{other}`"),
            ));
        }
        let added = tokenizer.add_tokens(tokens);
        added.map_err(|e| Error::file(&self.file, show(&e.to_string()), HINT))?;
        for (id, token) in placed {
            if tokenizer.token_to_id(&token.content) != Some(id) {
                let what = format!("has id {id}, which lies in a gap of the vocabulary");
                return Err(self.bad(&token.content, &what));
            }
        }
        Ok(beyond)
    }
}

/// Why `late`, added tokens with the ids that the library gave them, are not those of `tokenizer.json` (`bytes`): it
/// gives ids one after the other, whatever the file says.
pub(super) fn misnumbered(bytes: &[u8], late: &[(u32, &str)]) -> Option<String> {
    if late.is_empty() {
        return None; // large files are not read twice
    }
    let json: Value = serde_json::from_slice(bytes).ok()?;
    let stated = json["added_tokens"].as_array()?;
    late.iter().find_map(|(id, token)| {
        let stated = stated.iter().find(|t| t["content"] == *token)?;
        let other = stated["id"]
            .as_u64()
            .filter(|other| other != &u64::from(*id))?;
        let token = show(token);
        Some(format!(
            "token `{token}` has id {other}, far from all others"
        ))
    })
}

/// More unused ids than this before a token are no vocabulary.
const LARGEST_GAP: u32 = 1 << 16;

/// The id that the library gives to the next token it does not know.
fn next_id(tokenizer: &tokenizers::Tokenizer) -> u32 {
    let size = tokenizer.get_vocab_size(false) as u32;
    let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
    let top = added.keys().max().map_or(0, |id| id + 1);
    size.max(top)
}

/// A token for an id that nothing has: a code point that is never in a text.
fn filler(id: u32) -> AddedToken {
    AddedToken::from(format!("\u{FDD0}{id}"), true)
}

/// The special tokens that the fields of a file name.
fn specials(fields: &Map<String, Value>) -> Vec<AddedToken> {
    let one = NAMED.iter().filter_map(|name| fields.get(*name));
    let lists = LISTED.iter().filter_map(|name| fields.get(*name));
    let listed = lists.flat_map(|list| match list {
        Value::Array(all) => all.iter().collect(),
        Value::Object(all) => all.values().collect(),
        _ => Vec::new(),
    });
    one.chain(listed)
        .filter_map(|value| match value {
            Value::String(content) => Some(AddedToken::from(content.as_str(), true)),
            other => token(other),
        })
        .filter(|token| !token.content.is_empty())
        .map(|token| token.special(true))
        .collect()
}

/// A token with its flags; what is not stated is as in transformers.
fn token(value: &Value) -> Option<AddedToken> {
    let content = value.get("content")?.as_str()?;
    let flag = |name: &str| value.get(name).and_then(Value::as_bool);
    let special = flag("special").unwrap_or(false);
    let token = AddedToken::from(content, special)
        .single_word(flag("single_word").unwrap_or(false))
        .lstrip(flag("lstrip").unwrap_or(false))
        .rstrip(flag("rstrip").unwrap_or(false));
    Some(token.normalized(flag("normalized").unwrap_or(!special)))
}

/// The content of a special token, which files write as a string or as an object.
pub(in crate::files) fn content(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}
