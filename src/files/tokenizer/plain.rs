//! Texts in which some tokens are text.

use super::Tokenizer;
use crate::error::Result;
use std::collections::HashSet;
use tokenizers::{Model, OffsetType, PreTokenizer, Token};

impl Tokenizer {
    /// Added tokens that a text must not bring in by itself, and whether each is special: the special ones, those
    /// without an embedding, and those that occur in `written`, the template of a chat.
    pub(in crate::files) fn control_words(&self, written: &str) -> Vec<(String, bool)> {
        let tokens = self.inner.get_added_tokens_decoder();
        let mut words: Vec<(String, bool)> = tokens
            .into_values()
            .filter(|token| !token.content.trim().is_empty())
            .filter(|token| token.special || written.contains(&token.content))
            .map(|token| (token.content, token.special))
            .collect();
        let beyond = self.beyond.iter().filter(|token| !token.trim().is_empty());
        words.extend(beyond.map(|token| (token.clone(), true)));
        // Longer ones first: they may hold shorter ones.
        words.sort_by(|a, b| (b.0.len(), &a.0, b.1).cmp(&(a.0.len(), &b.0, a.1)));
        words.dedup_by(|a, b| a.0 == b.0);
        words
    }

    /// The ids of `text` alone, in which some characters stand for others (`unmark`) and are still themselves where
    /// added tokens are looked for. No special token comes out of the parts between added tokens.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub(in crate::files) fn encode_marked(
        &self,
        text: &str,
        unmark: &dyn Fn(char) -> char,
    ) -> Result<Vec<u32>> {
        self.refuse_beyond(text)?;
        let added = self.inner.get_added_tokens_decoder();
        let special = added.into_values().filter(|token| token.special);
        let special: HashSet<String> = special.map(|token| token.content).collect();
        let ids = self.call(|| {
            let inner = &self.inner;
            let normalizer = inner.get_normalizer();
            let mut parts = inner
                .get_added_vocabulary()
                .extract_and_normalize(normalizer, text);
            parts.normalize(|part| {
                part.map(unmark);
                Ok(())
            })?;
            if let Some(pre_tokenizer) = inner.get_pre_tokenizer() {
                pre_tokenizer.pre_tokenize(&mut parts)?;
            }
            parts.tokenize(|part| words(inner.get_model(), part.get(), &special))?;
            let encoding = parts.into_encoding(None, 0, OffsetType::None)?;
            Ok(encoding.get_ids().to_vec())
        })?;
        self.refuse_late(&ids)?;
        Ok(ids)
    }
}

/// The tokens of a word. Some models have their special tokens in the vocabulary too, and would find them: such a word
/// is cut in two.
fn words(
    model: &impl Model,
    word: &str,
    special: &HashSet<String>,
) -> tokenizers::Result<Vec<Token>> {
    let mut tokens = model.tokenize(word)?;
    let spelled = |token: &Token| special.contains(&token.value) && word.contains(&token.value);
    let length = word.chars().count();
    if length < 2 || !tokens.iter().any(spelled) {
        return Ok(tokens);
    }
    let middle = word
        .char_indices()
        .nth(length / 2)
        .map_or(word.len(), |(at, _)| at);
    tokens = words(model, &word[..middle], special)?;
    for mut token in words(model, &word[middle..], special)? {
        token.offsets = (token.offsets.0 + middle, token.offsets.1 + middle);
        tokens.push(token);
    }
    Ok(tokens)
}
