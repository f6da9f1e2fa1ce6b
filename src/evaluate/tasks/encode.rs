//! From a prompt and what may follow it to tokens.

use crate::error::{Error, Result};
use crate::files::Tokenizer;
use crate::model::session::IGNORED;

/// A text whose likelihood after another one is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What stands before it.
    pub context: String,
    /// The text.
    pub continuation: String,
}

/// A request in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// What the model sees: context and continuation but for the last token.
    pub tokens: Vec<u32>,
    /// For each token the one that follows it if that belongs to the continuation, else [`IGNORED`].
    pub targets: Vec<u32>,
}

impl Request {
    /// A request.
    pub fn new(context: String, continuation: String) -> Self {
        Self {
            context,
            continuation,
        }
    }

    /// Its tokens, at most `longest`, as the harness makes them (`_encode_pair` of lm_eval/api/model.py): blanks at the
    /// end of the context belong to the continuation; both are tokenized together, and the continuation is what follows
    /// as many tokens as the context has by itself. What is too long loses its beginning.
    ///
    /// # Errors
    /// Those of the tokenizer; [`Error::Usage`] for a continuation without tokens or longer than `longest`.
    pub fn encode(&self, tokenizer: &Tokenizer, longest: usize) -> Result<Encoded> {
        let context = self.context.trim_end();
        let whole = format!("{}{}", self.context, self.continuation);
        let (mut ids, all) = match context.is_empty() {
            true => {
                let begin: Vec<u32> = tokenizer.bos().into_iter().collect();
                let all = [begin.clone(), tokenizer.encode(&whole, false)?].concat();
                (begin, all)
            }
            false => (
                tokenizer.encode(context, true)?,
                tokenizer.encode(&whole, true)?,
            ),
        };
        let continuation = all.get(ids.len()..).unwrap_or_default();
        let count = continuation.len();
        ids.extend_from_slice(continuation);
        if count == 0 || count >= ids.len() || count > longest {
            return Err(Error::usage(
                format!(
                    "a choice of {count} tokens after {} others in a context of {longest}",
                    ids.len() - count
                ),
                "leave out this question, or take a model with a longer context and a begin token",
            ));
        }
        let seen = ids.split_off(ids.len().saturating_sub(longest + 1));
        let (tokens, next) = (seen[..seen.len() - 1].to_vec(), &seen[1..]);
        let before = next.len() - count;
        let targets = std::iter::repeat_n(IGNORED, before).chain(next[before..].iter().copied());
        Ok(Encoded {
            targets: targets.collect(),
            tokens,
        })
    }
}

impl Encoded {
    /// Tokens of the continuation.
    pub fn counted(&self) -> usize {
        self.targets.iter().filter(|&&t| t != IGNORED).count()
    }

    /// How many tokens at the beginning need not go through the model again where `before` has just done so.
    pub fn shared(&self, before: &[u32]) -> usize {
        let same = self.tokens.iter().zip(before).take_while(|(a, b)| a == b);
        let first = self.targets.iter().position(|&t| t != IGNORED);
        same.count().min(first.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> Tokenizer {
        let opened = crate::files::open_source(crate::builtin::source()).expect("the model");
        opened.tokenizer.expect("a tokenizer")
    }

    #[test]
    fn the_continuation_is_what_follows_the_context() {
        let tokenizer = tokenizer();
        let ids = |text: &str| tokenizer.encode(text, true).expect("ids");
        for (context, continuation) in [("Once upon", " a time"), ("Once upon ", "a time")] {
            let request = Request::new(context.to_owned(), continuation.to_owned());
            let encoded = request.encode(&tokenizer, 100).expect("tokens");
            let (all, before) = (ids("Once upon a time"), ids("Once upon").len());
            assert_eq!(encoded.tokens, all[..all.len() - 1]);
            assert_eq!(encoded.targets[before - 1..], all[before..]);
            assert!(encoded.targets[..before - 1].iter().all(|&t| t == IGNORED));
            assert_eq!(encoded.counted(), all.len() - before);
        }
    }

    #[test]
    fn what_is_too_long_loses_its_beginning() {
        let tokenizer = tokenizer();
        let request = Request::new("Once upon a time there".into(), " was a man".into());
        let whole = request.encode(&tokenizer, 100).expect("tokens");
        let cut = request.encode(&tokenizer, 5).expect("tokens");
        assert_eq!(cut.tokens, whole.tokens[whole.tokens.len() - 5..]);
        assert_eq!(cut.counted(), whole.counted());
        assert!(request.encode(&tokenizer, 2).is_err());
        assert!(
            Request::new("Once".into(), String::new())
                .encode(&tokenizer, 9)
                .is_err()
        );
    }

    #[test]
    fn a_shared_prefix_ends_before_the_first_target() {
        let encoded = Encoded {
            tokens: vec![1, 5, 6, 7],
            targets: vec![IGNORED, IGNORED, 7, 8],
        };
        assert_eq!(encoded.shared(&[1, 5, 6, 7]), 2);
        assert_eq!(encoded.shared(&[1, 9]), 1);
        assert_eq!(encoded.shared(&[]), 0);
    }
}
