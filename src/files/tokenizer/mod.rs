//! Text to tokens and back, by the `tokenizers` library from `tokenizer.json`.
//!
//! The library is the one Hugging Face uses, so the ids are theirs. Two things are added: a crafted file that makes
//! it panic is an error here, and [`Stream`] turns tokens into text as they come without ever cutting a character.

mod added;
mod bytes;
mod guarded;
#[cfg(feature = "templates")]
mod plain;
mod stream;

pub use self::bytes::TokenBytes;
pub(crate) use self::guarded::guarded;
pub use self::stream::Stream;

#[cfg(feature = "templates")]
pub(super) use self::added::content;

use self::added::{Object, Stated};
use super::config::object;
use super::digest::hash;
use super::json::show;
use super::{LONGEST_CONFIG, LONGEST_TOKENIZER, Source};
use crate::error::{Error, Result};
use serde_json::Value;
use std::ops::Range;
use std::sync::Arc;

/// Name of the tokenizer's file.
pub const TOKENIZER: &str = "tokenizer.json";
/// Name of the file with its settings.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// Name of the file with added tokens and their ids, where the settings have none.
const ADDED_TOKENS: &str = "added_tokens.json";
/// Name of the file with special tokens, where the settings have none.
const SPECIAL_TOKENS: &str = "special_tokens_map.json";

/// The tokenizer of a model. Cheap to clone: clones share the vocabulary.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    file: String,
    bos: Option<u32>,
    /// One more than the largest id that has an embedding.
    ids: usize,
    /// Embeddings of the model.
    vocab: usize,
    /// `add_bos_token` of `tokenizer_config.json`, which overrides what the post-processor does.
    add_bos: Option<bool>,
    /// Added tokens that have no embedding.
    beyond: Vec<String>,
    sha256: String,
}

/// The files of a tokenizer beside `tokenizer.json`.
#[derive(Default)]
struct Beside {
    settings: Option<Object>,
    added: Option<Object>,
    special: Option<Object>,
}

/// What the library makes of the files.
struct Read {
    inner: tokenizers::Tokenizer,
    /// The word of the model with the largest id.
    top: Option<(String, u32)>,
    /// Added tokens by their ids.
    added: std::collections::HashMap<u32, tokenizers::AddedToken>,
    /// Added tokens whose ids have no embeddings, if the others have the ids that the files give them.
    beyond: Result<Vec<String>>,
    /// Whether other files than `tokenizer.json` name some of them.
    more: bool,
}

impl Read {
    fn of(bytes: &[u8], stated: &Stated, vocab: usize) -> tokenizers::Result<Self> {
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes)?;
        // A text is never cut or padded behind the caller's back.
        inner.with_truncation(None)?;
        inner.with_padding(None);
        let before = inner.get_added_tokens_decoder();
        let beyond = stated.add(&mut inner, vocab);
        let added = inner.get_added_tokens_decoder();
        let words = inner.get_vocab(false).into_iter();
        let words = words.filter(|(_, id)| !added.contains_key(id));
        Ok(Self {
            top: words.max_by_key(|(_, id)| *id),
            more: added != before,
            inner,
            added: added.into_iter().collect(),
            beyond,
        })
    }
}

impl Tokenizer {
    /// Reads the tokenizer of `source`: `tokenizer.json`, and the files beside it that say more about its special and
    /// added tokens. `bos` is the begin token in the model's configuration, which counts where the tokenizer names
    /// none; `vocab` is the number of the model's embeddings. `None` without a `tokenizer.json`.
    ///
    /// # Errors
    /// As [`Tokenizer::new`], and [`Error::File`] for added tokens whose ids contradict each other.
    pub fn open(source: &Source, bos: Option<u32>, vocab: usize) -> Result<Option<Self>> {
        let Some(bytes) = source.read_optional(TOKENIZER, LONGEST_TOKENIZER)? else {
            return Ok(None);
        };
        let read = |name: &str| -> Result<Option<Object>> {
            let place = source.place(name);
            let bytes = source.read_optional(name, LONGEST_CONFIG)?;
            let fields = bytes.map(|bytes| object(&place, &bytes)).transpose()?;
            Ok(fields.map(|fields| (place, fields)))
        };
        let beside = Beside {
            settings: read(TOKENIZER_CONFIG)?,
            added: read(ADDED_TOKENS)?,
            special: read(SPECIAL_TOKENS)?,
        };
        Self::build(&source.place(TOKENIZER), &bytes, &beside, bos, vocab).map(Some)
    }

    /// Reads `tokenizer.json` (`bytes`) and, if there is one, `tokenizer_config.json` (its place and bytes). `bos`
    /// is the begin token in the model's configuration, `vocab` the number of its embeddings.
    ///
    /// # Errors
    /// [`Error::File`] when the library refuses the file or panics over it, or when a token has no embedding.
    pub fn new(
        file: &str,
        bytes: &[u8],
        settings: Option<(&str, &[u8])>,
        bos: Option<u32>,
        vocab: usize,
    ) -> Result<Self> {
        let read = |(file, bytes): (&str, &[u8])| -> Result<Object> {
            Ok((file.to_owned(), object(file, bytes)?))
        };
        let beside = Beside {
            settings: settings.map(read).transpose()?,
            ..Beside::default()
        };
        Self::build(file, bytes, &beside, bos, vocab)
    }

    fn build(
        file: &str,
        bytes: &[u8],
        beside: &Beside,
        bos: Option<u32>,
        vocab: usize,
    ) -> Result<Self> {
        let bad = |what: String| Error::file(file, what, "take the tokenizer.json of this model");
        let stated = Stated::of(
            beside.settings.as_ref(),
            beside.added.as_ref(),
            beside.special.as_ref(),
        )?;
        let Read {
            inner,
            top,
            added,
            beyond,
            more,
        } = match guarded(|| Read::of(bytes, &stated, vocab)) {
            Ok(Ok(read)) => read,
            Ok(Err(e)) => {
                let why = show(&e.to_string());
                return Err(bad(format!("is not a tokenizer: {why}")));
            }
            Err(why) => return Err(bad(format!("makes the tokenizer library panic: {why}"))),
        };
        let mut beyond = beyond?;
        let usable = added.keys().copied().filter(|&id| (id as usize) < vocab);
        let usable = usable.chain(top.iter().map(|(_, id)| *id)).max();
        let ids = usable.map_or(0, |id| id as usize + 1);
        if let Some((token, id)) = top.filter(|(_, id)| *id as usize >= vocab) {
            let token = show(&token);
            return Err(bad(format!(
                "token `{token}` has id {id}, but the model has {vocab} embeddings"
            )));
        }
        // Such as the padding token that a tokenizer got after its model was trained: no text has to hold it.
        let late = added.iter().filter(|(id, _)| **id as usize >= vocab);
        let late: Vec<(u32, &str)> = late.map(|(id, t)| (*id, t.content.as_str())).collect();
        if let Some(what) = added::misnumbered(bytes, &late) {
            return Err(bad(what));
        }
        beyond.extend(late.iter().map(|(_, token)| (*token).to_owned()));
        let settings = beside.settings.as_ref();
        let setting = |name: &str| settings.and_then(|(_, fields)| fields.get(name));
        let add_bos = setting("add_bos_token").and_then(Value::as_bool);
        let mut made = Self {
            bos: None,
            inner: Arc::new(inner),
            file: file.to_owned(),
            ids,
            vocab,
            add_bos,
            beyond,
            sha256: String::new(),
        };
        let named = setting("bos_token").and_then(added::content);
        let named = named.and_then(|token| made.id(token));
        let usable = |id: &u32| (*id as usize) < vocab;
        made.bos = made.begin().filter(usable).or(named.filter(usable)).or(bos);
        made.sha256 = made.identity(bytes, more);
        Ok(made)
    }

    /// SHA-256 of `tokenizer.json` (`bytes`), and of all added tokens if other files name `more` of them.
    fn identity(&self, bytes: &[u8], more: bool) -> String {
        if !more {
            return hash(bytes);
        }
        // Keys in alphabetical order: the sum must not depend on how JSON objects are held in memory.
        let sorted = |token: Value| match token {
            Value::Object(fields) => fields.into_iter().collect(),
            _ => std::collections::BTreeMap::new(),
        };
        let added: Vec<_> = self.added_tokens().into_iter().map(sorted).collect();
        let added = serde_json::to_string(&added).unwrap_or_default();
        hash(&[bytes, added.as_bytes()].concat())
    }

    /// The ids of `text`. With `special`, those of a whole prompt: the begin token and whatever else the
    /// tokenizer's post-processor adds, as Hugging Face does, but no begin token before one that the text has;
    /// without, the text alone.
    ///
    /// # Errors
    /// [`Error::File`] when the library refuses the text or panics over it, or when the text holds an added token that
    /// has no embedding.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        self.refuse_beyond(text)?;
        let encoding = self.call(|| self.inner.encode_fast(text, special))?;
        let mut ids = encoding.get_ids().to_vec();
        self.refuse_late(&ids)?;
        if !special {
            return Ok(ids);
        }
        let rest = ids.split_off(leading(&encoding));
        let mut begin = ids;
        if let (Some(add), Some(bos)) = (self.add_bos, self.bos) {
            let there = begin.contains(&bos);
            if add && !there {
                begin.insert(0, bos);
            } else if !add && begin.first() == Some(&bos) {
                begin.remove(0);
            }
        }
        // Also of nothing: an empty text has no begin token of its own.
        if begin.is_empty() || rest.starts_with(&begin) {
            return Ok(rest);
        }
        begin.extend(rest);
        Ok(begin)
    }

    /// The token that the post-processor puts before every text.
    fn begin(&self) -> Option<u32> {
        // One of these has tokens; a tokenizer that refuses them all says so when it gets a text.
        ["a", "1", ".", " "].into_iter().find_map(|text| {
            let encoding = self.call(|| self.inner.encode_fast(text, true)).ok()?;
            let ids = encoding.get_ids();
            let begin = leading(&encoding);
            (begin < ids.len()).then(|| ids[..begin].first().copied())?
        })
    }

    /// Refuses a text with an added token that has no embedding; the library would take its letters instead.
    pub(super) fn refuse_beyond(&self, text: &str) -> Result<()> {
        match self.beyond.iter().find(|token| text.contains(&***token)) {
            None => Ok(()),
            Some(token) => Err(Error::usage(
                format!(
                    "the text holds the token `{}`, which has no embedding in this model",
                    show(token)
                ),
                "take it out of the text",
            )),
        }
    }

    /// Refuses ids that have no embedding: of tokens that the text holds in another form, or that the post-processor adds.
    fn refuse_late(&self, ids: &[u32]) -> Result<()> {
        let Some(&id) = ids.iter().find(|&&id| id as usize >= self.vocab) else {
            return Ok(());
        };
        let token = self.token(id).unwrap_or_default();
        Err(Error::file(
            &self.file,
            format!(
                "makes the token `{}` with id {id} of the text, but the model has {} embeddings",
                show(&token),
                self.vocab
            ),
            "change the text, or take the tokenizer.json of this model",
        ))
    }

    /// `text` in parts, in bytes: added tokens with their ids, and what stands between them. Without the normalizer,
    /// so that tokens that are looked for in normalized text may not be found.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub(super) fn parts(&self, text: &str) -> Result<Vec<(Range<usize>, Option<u32>)>> {
        use tokenizers::{NormalizerWrapper, OffsetReferential, OffsetType};
        self.call(|| {
            let added = self.inner.get_added_vocabulary();
            let split = added.extract_and_normalize(None::<&NormalizerWrapper>, text);
            let parts = split.get_splits(OffsetReferential::Original, OffsetType::Byte);
            let id = |tokens: &Option<Vec<tokenizers::Token>>| Some(tokens.as_ref()?.first()?.id);
            Ok(parts
                .into_iter()
                .map(|(_, (from, to), tokens)| (from..to, id(tokens)))
                .collect())
        })
    }

    /// All added tokens, in the form and the order of `tokenizer.json`.
    pub(super) fn added_tokens(&self) -> Vec<Value> {
        let tokens = self.inner.get_added_tokens_decoder();
        let mut tokens: Vec<_> = tokens.into_iter().collect();
        tokens.sort_by_key(|(id, _)| *id);
        let value = |(id, token): (u32, tokenizers::AddedToken)| {
            let mut value = serde_json::to_value(token).unwrap_or_default();
            value["id"] = id.into();
            value
        };
        tokens.into_iter().map(value).collect()
    }

    /// The text of `ids`, special tokens left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.call(|| self.inner.decode(ids, true))
    }

    /// The id of exactly this token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token with this id, as the vocabulary writes it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// All ids are below this.
    pub fn ids(&self) -> usize {
        self.ids
    }

    /// The begin token: the one that the post-processor puts before a text, or else `bos_token` of
    /// `tokenizer_config.json`, or else that of the model's configuration.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// What identifies the tokenizer: SHA-256 of `tokenizer.json`, and of the added tokens if other files name more.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Calls the library; what it refuses or panics over is an error.
    fn call<T>(&self, f: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
        let bad =
            |what: String| Error::file(&self.file, what, "take the tokenizer.json of this model");
        match guarded(f) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(e)) => Err(bad(format!("refuses the text: {}", show(&e.to_string())))),
            Err(why) => Err(bad(format!("makes the tokenizer library panic: {why}"))),
        }
    }
}

/// How many tokens the post-processor put before those of the text.
fn leading(encoding: &tokenizers::Encoding) -> usize {
    let added = encoding.get_special_tokens_mask().iter();
    added.take_while(|&&special| special == 1).count()
}
