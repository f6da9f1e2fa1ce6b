//! The tokenizer of a folder, with what is needed to make data with it.

use super::encoder::Cut;
use super::manifest::TokenizerId;
use crate::error::{Error, Result};
use crate::files::config::object;
use crate::files::tokenizer::{TOKENIZER, TOKENIZER_CONFIG, Tokenizer};
use crate::files::{CONFIG, LONGEST_CONFIG, LONGEST_TOKENIZER, Source};
use serde_json::{Map, Value};
use std::io::ErrorKind;

/// A tokenizer and its special tokens. A model is not needed.
pub struct TextTokenizer {
    /// The library.
    pub tokenizer: Tokenizer,
    /// What identifies it.
    pub id: TokenizerId,
    /// Where texts may be cut for it.
    pub cut: Cut,
}

impl TextTokenizer {
    /// Reads the tokenizer, and eos from `tokenizer_config.json` or else `config.json`.
    ///
    /// # Errors
    /// [`Error::File`] when the tokenizer is not good, or has no eos to end documents with.
    pub fn open(source: &Source) -> Result<Self> {
        let bytes = source.read(TOKENIZER, LONGEST_TOKENIZER)?;
        let config = fields(source, CONFIG)?;
        let settings = fields(source, TOKENIZER_CONFIG)?;
        let vocab = config.get("vocab_size").and_then(Value::as_u64);
        let vocab = vocab.and_then(|n| usize::try_from(n).ok());
        let number = |name: &str| {
            let id = config.get(&format!("{name}_token_id"))?;
            let id = id.as_u64().or_else(|| id[0].as_u64())?;
            u32::try_from(id).ok()
        };
        let opened = Tokenizer::open(source, number("bos"), vocab.unwrap_or(usize::MAX))?;
        let missing = || Error::io(source.place(TOKENIZER), ErrorKind::NotFound.into());
        let tokenizer = opened.ok_or_else(missing)?;
        let token = settings.get("eos_token");
        let token = token.and_then(|token| token.as_str().or_else(|| token["content"].as_str()));
        let named = token.and_then(|token| tokenizer.id(token));
        let named = named.filter(|&id| vocab.is_none_or(|vocab| (id as usize) < vocab));
        let Some(eos) = named.or_else(|| number("eos")) else {
            let what = "there is no eos token to end documents with";
            let hint =
                "name `eos_token` in tokenizer_config.json, or `eos_token_id` in config.json";
            return Err(Error::file(source.name(), what, hint));
        };
        let bos = tokenizer.bos();
        let most = eos.max(bos.unwrap_or(0)) as usize + 1;
        let id = TokenizerId {
            sha256: tokenizer.sha256().to_owned(),
            vocab: vocab.unwrap_or(0).max(tokenizer.ids()).max(most),
            bos,
            eos,
        };
        // The library accepted it, so it is JSON; in doubt nothing is cut.
        let cut = serde_json::from_slice::<Value>(&bytes).map_or(Cut::Never, |mut json| {
            json["added_tokens"] = tokenizer.added_tokens().into();
            Cut::of(&json)
        });
        Ok(Self { tokenizer, id, cut })
    }
}

/// The fields of a file that may be missing.
fn fields(source: &Source, file: &str) -> Result<Map<String, Value>> {
    let bytes = source.read_optional(file, LONGEST_CONFIG)?;
    bytes.map_or(Ok(Map::new()), |bytes| object(&source.place(file), &bytes))
}
