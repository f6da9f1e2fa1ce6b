//! Text to tokens and back, by the `tokenizers` library from `tokenizer.json`.
//!
//! The library is the one Hugging Face uses, so the ids are theirs. Two things are added: a crafted file that makes
//! it panic is an error here, and [`Stream`] turns tokens into text as they come without ever cutting a character.

use super::config::object;
use super::json::show;
use crate::error::{Error, Result};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Name of the tokenizer's file.
pub const TOKENIZER: &str = "tokenizer.json";
/// Name of the file with its settings.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// The tokenizer of a model.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    file: String,
    bos: Option<u32>,
    /// One more than the largest id.
    ids: usize,
    /// `add_bos_token` of `tokenizer_config.json`, which overrides what the post-processor does.
    add_bos: Option<bool>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` (`bytes`) and, if there is one, `tokenizer_config.json` (its place and bytes). `bos`
    /// is the model's begin token, `vocab` the number of its embeddings.
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
        let bad = |what: String| Error::file(file, what, "take the tokenizer.json of this model");
        let read = guarded(|| -> tokenizers::Result<_> {
            let mut inner = tokenizers::Tokenizer::from_bytes(bytes)?;
            // A text is never cut or padded behind the caller's back.
            inner.with_truncation(None)?;
            inner.with_padding(None);
            let top = inner.get_vocab(true).into_iter().max_by_key(|(_, id)| *id);
            Ok((inner, top))
        });
        let (inner, top) = match read {
            Ok(Ok(read)) => read,
            Ok(Err(e)) => {
                let why = show(&e.to_string());
                return Err(bad(format!("is not a tokenizer: {why}")));
            }
            Err(why) => return Err(bad(format!("makes the tokenizer library panic: {why}"))),
        };
        let ids = top.as_ref().map_or(0, |(_, id)| *id as usize + 1);
        if let Some((token, id)) = top.filter(|(_, id)| *id as usize >= vocab) {
            let token = show(&token);
            return Err(bad(format!(
                "token `{token}` has id {id}, but the model has {vocab} embeddings"
            )));
        }
        let add_bos = match settings {
            None => None,
            Some((file, bytes)) => object(file, bytes)?
                .get("add_bos_token")
                .and_then(serde_json::Value::as_bool),
        };
        Ok(Self {
            inner,
            file: file.to_owned(),
            bos,
            ids,
            add_bos,
        })
    }

    /// The ids of `text`. With `special`, those of a whole prompt: the begin token and whatever else the
    /// tokenizer's post-processor adds, as Hugging Face does; without, the text alone.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let encoding = self.call(|| self.inner.encode_fast(text, special))?;
        let mut ids = encoding.get_ids().to_vec();
        if special && let (Some(add), Some(bos)) = (self.add_bos, self.bos) {
            let starts = ids.first() == Some(&bos);
            if add && !starts {
                ids.insert(0, bos);
            } else if !add && starts && self.inner_adds(bos)? {
                ids.remove(0);
            }
        }
        Ok(ids)
    }

    /// Whether the post-processor (rather than the text) puts `bos` in front.
    fn inner_adds(&self, bos: u32) -> Result<bool> {
        let empty = self.call(|| self.inner.encode_fast("", true))?;
        Ok(empty.get_ids().first() == Some(&bos))
    }

    /// The text of `ids`, special tokens left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.call(|| self.inner.decode(ids, true))
    }

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

    /// The model's begin token.
    pub fn bos(&self) -> Option<u32> {
        self.bos
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

/// Text of tokens as they come: complete characters only, the same characters that decoding everything at once
/// would give.
///
/// Tokens are decoded together with those before them that gave the last piece of text, because the text of a token
/// depends on its neighbours (a leading space is dropped only at the very beginning; a character may be spread over
/// several byte tokens).
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
    /// A character has at most four bytes, so that an unfinished one is finished or broken after so many tokens;
    /// some more are waited for because broken runs may heal in the library's decoder.
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

thread_local! {
    /// Whether panics of this thread are being caught by [`guarded`].
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Calls `f`; a panic becomes its message, and nothing is printed. Where panics abort (WebAssembly), they do.
pub(super) fn guarded<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: std::sync::Once = std::sync::Once::new();
    // The hook is global, so it is wrapped once and asks a flag of its thread: other threads still report theirs.
    HOOK.call_once(|| {
        let outer = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                outer(info);
            }
        }));
    });
    let before = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    GUARDED.set(before);
    result.map_err(|payload| {
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied());
        show(text.unwrap_or("no message"))
    })
}
