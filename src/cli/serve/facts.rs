//! What the tasks of clients know of the model.

use super::common::Bounds;
use super::error::{Answered, ApiError};
use super::limits;
use super::pieces::Pieces;
use crate::error::{Error, Result};
use crate::files::Tokenizer;
use crate::files::chat_template::ChatTemplate;
use crate::files::tokenizer::TOKENIZER;
use crate::generate::{ModelFiles, Prompt, Vocabulary, encode};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the tasks of clients know of the model.
pub(super) struct Facts {
    /// Its name in requests and answers.
    pub id: String,
    pub bounds: Bounds,
    pub tokenizer: Tokenizer,
    pub pieces: Pieces,
    pub template: ChatTemplate,
    pub eos: Vec<u32>,
    /// Tokens that end the answer to a chat beside those.
    pub turn_ends: Vec<u32>,
    /// Made when a text is first held to a schema.
    vocabulary: OnceLock<Vocabulary>,
    /// When it was loaded, in seconds since 1970.
    pub loaded: u64,
    pub recipe: String,
    pub device: String,
}

impl Facts {
    /// What there is to know before the model is on its device.
    ///
    /// # Errors
    /// [`Error::File`] where there is no tokenizer.
    pub(super) fn of(files: &ModelFiles, id: String, choices: usize) -> Result<Self> {
        let config = files.config();
        let missing = || {
            let place = files.opened().source.place(TOKENIZER);
            Error::file(
                place,
                "is missing",
                "copy it from where the model came from",
            )
        };
        let tokenizer = files.tokenizer().ok_or_else(missing)?.clone();
        let template = ChatTemplate::open(&files.opened().source, &tokenizer)?;
        Ok(Self {
            id,
            bounds: Bounds {
                vocab: config.vocab,
                context: config.context,
                choices,
            },
            pieces: Pieces::new(tokenizer.clone()),
            turn_ends: template.end_tokens(&tokenizer),
            tokenizer,
            template,
            vocabulary: OnceLock::new(),
            eos: config.eos.clone(),
            loaded: now(),
            recipe: String::new(),
            device: String::new(),
        })
    }

    /// What tells answers of one model on one kind of device from others.
    pub(super) fn fingerprint(&self) -> String {
        let whole = format!("{}\n{}\n{}", self.id, self.recipe, self.device);
        let digest = crate::files::digest::hash(whole.as_bytes());
        format!("fp_{}", digest.get(..10).unwrap_or(&digest))
    }

    /// The tokens as grammars see them.
    ///
    /// # Errors
    /// 400 for a model whose texts cannot be held to a form.
    pub(super) fn vocabulary(&self) -> Answered<&Vocabulary> {
        if let Some(made) = self.vocabulary.get() {
            return Ok(made);
        }
        let ends = [&*self.eos, &*self.turn_ends].concat();
        let made = Vocabulary::new(&self.tokenizer, self.bounds.vocab, &ends);
        let made = made.map_err(|error| ApiError::library(&error, "response_format"))?;
        Ok(self.vocabulary.get_or_init(|| made)) // of two that were made at once, one
    }

    /// The ids of a prompt; of an empty text the begin token.
    ///
    /// # Errors
    /// 400 for a text that the tokenizer refuses, or that does not fit the context, and for an empty one without a begin
    /// token.
    pub(super) fn encode(&self, prompt: Prompt) -> Answered<Vec<u32>> {
        if let Prompt::Text(text) = &prompt {
            self.refuse_long(text, "prompt")?;
        }
        encode(Some(&self.tokenizer), TOKENIZER, prompt)
            .map_err(|error| ApiError::library(&error, "prompt"))
    }

    /// Refuses a text that is far too long for the context by a look at its beginning: all of it would take much memory.
    ///
    /// # Errors
    /// 400 with the counts, for the field `param`.
    pub(super) fn refuse_long(&self, text: &str, param: &str) -> Answered<()> {
        let context = self.bounds.context;
        // the end of a beginning may have tokens that the whole does not have
        let surely = context + context / 8 + 64;
        let mut bytes = limits::BEGINNING.max(8 * context);
        while bytes < text.len() {
            let end = (bytes..text.len()).find(|&end| text.is_char_boundary(end));
            let beginning = &text[..end.unwrap_or(text.len())];
            let tokens = self.tokenizer.encode(beginning, false);
            let tokens = tokens
                .map_err(|error| ApiError::library(&error, param))?
                .len();
            if tokens > surely {
                return Err(ApiError::long(beginning.len(), tokens, context, param));
            }
            bytes *= 2;
        }
        Ok(())
    }

    /// The ids of a text alone, or with what stands around texts if `special`.
    ///
    /// # Errors
    /// 400 for a text that the tokenizer refuses.
    pub(super) fn tokens(&self, text: &str, special: bool) -> Answered<Vec<u32>> {
        let ids = self.tokenizer.encode(text, special);
        ids.map_err(|error| ApiError::library(&error, "content"))
    }

    /// The text of ids.
    ///
    /// # Errors
    /// 400 for ids that the tokenizer refuses.
    pub(super) fn decode(&self, ids: &[u32]) -> Answered<String> {
        let text = self.tokenizer.decode(ids);
        text.map_err(|error| ApiError::library(&error, "tokens"))
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
