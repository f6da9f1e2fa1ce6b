//! Texts that are held to a JSON schema: which tokens may follow.
//!
//! The work is llguidance's. A [`Vocabulary`] is made once for a model and shared; a [`Grammar`] is one text in the making.

mod bounds;

use super::model::{Model, ModelFiles};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::files::Tokenizer;
use crate::files::tokenizer::{TOKENIZER, TokenBytes, guarded};
use crate::model::{Config, Sampler, Session};
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use std::sync::Arc;

/// White space between the parts of a text, where JSON allows it: a space, or a new line and its indentation. Without a
/// bound a model may go on with it for ever.
const SPACE: &str = r"(\x20|\x0A\x20{0,16})";
/// The key of a schema that llguidance reads its own settings from.
const SETTINGS: &str = "x-guidance";

/// The tokens of a model, as grammars see them. Clones share everything.
#[derive(Clone)]
pub struct Vocabulary {
    factory: Arc<ParserFactory>,
    vocab: usize,
    eos: Arc<[u32]>,
}

impl Vocabulary {
    /// The tokens of a model with `vocab` embeddings and the end tokens `eos`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a model without an end token, [`Error::File`] for a tokenizer whose tokens are no pieces of
    /// a text.
    pub fn new(tokenizer: &Tokenizer, vocab: usize, eos: &[u32]) -> Result<Self> {
        let eos: Arc<[u32]> = eos
            .iter()
            .copied()
            .filter(|&id| (id as usize) < vocab)
            .collect();
        let Some(&end) = eos.first() else {
            let hint = "take a model whose configuration names one";
            return Err(Error::usage(
                "a text cannot be held to a schema by a model without an end token",
                hint,
            ));
        };
        let mut words: Vec<Vec<u8>> = tokenizer.token_bytes()?.into_iter().map(word).collect();
        words.resize(vocab, Vec::new());
        for (number, &id) in eos.iter().enumerate() {
            words[id as usize] = special(&format!("<|end {number}|>")); // below `vocab`, see above
        }
        let made = guarded(|| {
            let info = TokRxInfo::new(vocab as u32, end);
            let trie = TokTrie::from(&info, &words).with_eos_tokens(&eos);
            let tokens: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
            let mut factory = ParserFactory::new_simple(&tokens).map_err(|e| e.to_string())?;
            factory.quiet();
            factory.limits_mut().verbose_errors = false;
            Ok(factory)
        });
        let factory = made.and_then(|made| made).map_err(|why| {
            let what = format!(
                "no text can be held to a schema with this vocabulary: {}",
                line(&why)
            );
            Error::usage(what, "take another model")
        })?;
        Ok(Self {
            factory: Arc::new(factory),
            vocab,
            eos,
        })
    }

    /// Number of the model's embeddings.
    pub fn vocab(&self) -> usize {
        self.vocab
    }
}

impl ModelFiles {
    /// The model's tokens, as grammars see them.
    ///
    /// # Errors
    /// [`Error::File`] without a tokenizer, and as [`Vocabulary::new`].
    pub fn vocabulary(&self) -> Result<Vocabulary> {
        vocabulary(
            self.tokenizer(),
            &self.opened.source.place(TOKENIZER),
            self.config(),
        )
    }
}

impl Model {
    /// The model's tokens, as grammars see them.
    ///
    /// # Errors
    /// [`Error::File`] without a tokenizer, and as [`Vocabulary::new`].
    pub fn vocabulary(&self) -> Result<Vocabulary> {
        vocabulary(self.tokenizer(), &self.place, self.config())
    }
}

fn vocabulary(tokenizer: Option<&Tokenizer>, place: &str, config: &Config) -> Result<Vocabulary> {
    let hint = "copy it from where the model came from";
    let tokenizer = tokenizer.ok_or_else(|| Error::file(place, "is missing", hint))?;
    Vocabulary::new(tokenizer, config.vocab, &config.eos)
}

/// What llguidance is told of a token.
fn word(token: TokenBytes) -> Vec<u8> {
    match token {
        TokenBytes::Text(bytes) => bytes,
        TokenBytes::Special(name) => special(&name),
        TokenBytes::Nothing => Vec::new(),
    }
}

fn special(name: &str) -> Vec<u8> {
    [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat()
}

/// The first line of what a library says.
fn line(what: &str) -> String {
    let line = what.lines().next().unwrap_or_default();
    line.chars().take(300).collect()
}

/// A text in the making that a grammar holds to its form. Clones go on independently.
#[derive(Clone)]
pub struct Grammar {
    matcher: Matcher,
    vocab: usize,
    eos: Arc<[u32]>,
    ended: bool,
}

impl std::fmt::Debug for Grammar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let finished = self.is_finished();
        f.debug_struct("Grammar")
            .field("finished", &finished)
            .finish()
    }
}

impl Grammar {
    /// Texts that are JSON of this schema. `oneOf` counts as `anyOf`: a text may fit more than one of its schemas.
    ///
    /// # Errors
    /// [`Error::Usage`] naming what of the schema cannot be held to, and for a schema that is too large.
    pub fn json_schema(vocabulary: &Vocabulary, schema: &Value) -> Result<Self> {
        let refused = |why: &str| {
            Error::usage(
                format!("the JSON schema is refused: {}", line(why)),
                "change the schema",
            )
        };
        let mut schema = match schema {
            Value::Bool(true) => json!({}),
            Value::Object(_) => schema.clone(),
            _ => return Err(refused("it is no object")),
        };
        bounds::check(&schema).map_err(|why| refused(&why))?;
        schema[SETTINGS] = json!({ "whitespace_pattern": SPACE, "coerce_one_of": true });
        let factory = &vocabulary.factory;
        let grammar = TopLevelGrammar::from_json_schema(schema);
        let matcher = guarded(|| Matcher::new(factory.create_parser(grammar)))
            .map_err(|why| refused(&why))?;
        match matcher.get_error() {
            Some(why) => Err(refused(&why)),
            None => Ok(Self {
                matcher,
                vocab: vocabulary.vocab,
                eos: vocabulary.eos.clone(),
                ended: false,
            }),
        }
    }

    /// Texts that are a JSON object, whatever is in it.
    ///
    /// # Errors
    /// As [`Grammar::json_schema`].
    pub fn json_object(vocabulary: &Vocabulary) -> Result<Self> {
        Self::json_schema(vocabulary, &json!({ "type": "object" }))
    }

    /// Which ids may come next: bit `i % 32` of word `i / 32` is that of id `i`, for all embeddings of the model. Where the
    /// text may end, its end tokens are among them; behind the end nothing else is.
    ///
    /// # Errors
    /// [`Error::Usage`] where the form asks for more work than is allowed.
    pub fn mask(&mut self) -> Result<Vec<u32>> {
        let words = self.vocab.div_ceil(32);
        if self.ended {
            let mut mask = vec![0; words];
            self.allow_end(&mut mask);
            return Ok(mask);
        }
        let computed = self
            .matcher
            .compute_mask_or_eos()
            .map_err(|e| failed(&e.to_string()))?;
        let mut mask: Vec<u32> = computed.as_slice().iter().copied().take(words).collect();
        mask.resize(words, 0);
        if self.eos.iter().any(|&id| bit(&mask, id)) {
            self.allow_end(&mut mask);
        }
        Ok(mask)
    }

    fn allow_end(&self, mask: &mut [u32]) {
        for &id in &*self.eos {
            if let Some(word) = mask.get_mut(id as usize / 32) {
                *word |= 1 << (id % 32);
            }
        }
    }

    /// Goes on by a token, which is one that [`Grammar::mask`] allows.
    ///
    /// # Errors
    /// [`Error::Usage`] for another one.
    pub fn accept(&mut self, id: u32) -> Result<()> {
        let refused = |why: &str| {
            Error::usage(
                format!("token {id} does not fit the form of the text: {why}"),
                "choose one that the mask allows",
            )
        };
        let end = self.eos.contains(&id);
        if self.ended {
            return if end {
                Ok(())
            } else {
                Err(refused("the text has ended"))
            };
        }
        if end {
            let may_end = self.matcher.is_stopped()
                || self
                    .matcher
                    .is_accepting()
                    .map_err(|e| failed(&e.to_string()))?;
            self.ended = may_end;
            return if may_end {
                Ok(())
            } else {
                Err(refused("the text is not complete"))
            };
        }
        self.matcher
            .consume_token(id)
            .map_err(|e| refused(&line(&e.to_string())))
    }

    /// Chooses the next token among those that are allowed, and goes on by it.
    pub(super) async fn choose<B: Backend>(
        &mut self,
        sampler: &mut Sampler,
        session: &Session<'_, B>,
    ) -> Result<u32> {
        let logits = session.logits().await?;
        let mask = self.mask()?;
        let candidates = (0..).zip(logits).filter(|(id, _)| bit(&mask, *id));
        let candidates: Vec<(u32, f32)> = candidates.collect();
        if candidates.is_empty() {
            return Err(failed("no token of the vocabulary fits"));
        }
        let id = sampler.pick(candidates)?;
        sampler.accept(&[id]);
        self.accept(id)?;
        Ok(id)
    }

    /// Whether the text is complete and nothing but its end may follow.
    pub fn is_finished(&self) -> bool {
        self.ended || (self.matcher.is_stopped() && !self.matcher.is_error())
    }
}

/// Whether the bit of `id` is set.
fn bit(mask: &[u32], id: u32) -> bool {
    mask.get(id as usize / 32)
        .is_some_and(|word| word >> (id % 32) & 1 == 1)
}

fn failed(why: &str) -> Error {
    Error::usage(
        format!("the text cannot be held to its schema: {}", line(why)),
        "simplify the schema",
    )
}
