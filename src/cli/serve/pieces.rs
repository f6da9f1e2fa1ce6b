//! What single tokens look like.

use crate::error::Result;
use crate::files::Tokenizer;
use crate::files::tokenizer::TokenBytes;

/// A token beside its log-probability: how it is written, and the bytes that it adds to a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    /// Its text. Bytes that are no text alone are written `bytes:\xe2\x82`, a control token as the vocabulary has it.
    pub token: String,
    /// What it is in a text; of a control token nothing.
    pub bytes: Vec<u8>,
}

/// Writes the tokens of a vocabulary one by one.
pub(super) struct Pieces {
    tokenizer: Tokenizer,
    /// By id; empty where the tokenizer's tokens are no pieces of a text.
    tokens: Vec<TokenBytes>,
}

impl Pieces {
    pub(super) fn new(tokenizer: Tokenizer) -> Self {
        let tokens = tokenizer.token_bytes().unwrap_or_default();
        Self { tokenizer, tokens }
    }

    /// How the token `id` is written.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub(super) fn written(&self, id: u32) -> Result<Written> {
        let bytes = match self.tokens.get(id as usize) {
            Some(TokenBytes::Text(bytes)) => bytes.clone(),
            Some(TokenBytes::Special(name)) => {
                let (token, bytes) = (name.clone(), Vec::new());
                return Ok(Written { token, bytes });
            }
            Some(TokenBytes::Nothing) => Vec::new(),
            None => self.tokenizer.decode(&[id])?.into_bytes(),
        };
        let escaped = |all: String, byte: &u8| all + &format!("\\x{byte:02x}");
        let token = match std::str::from_utf8(&bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.iter().fold("bytes:".to_owned(), escaped),
        };
        Ok(Written { token, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_the_built_in_model_add_up_to_the_text() {
        let opened = crate::builtin::open(None).expect("it opens");
        let tokenizer = opened.tokenizer.expect("it has one");
        let text = "The old café, 3 € — ünï\n\tthen 日本!";
        let ids = tokenizer.encode(text, false).expect("a text");
        let pieces = Pieces::new(tokenizer.clone());
        let written: Vec<_> = ids
            .iter()
            .map(|&id| pieces.written(id).expect("written"))
            .collect();
        let bytes: Vec<u8> = written.iter().flat_map(|w| w.bytes.clone()).collect();
        assert_eq!(String::from_utf8_lossy(&bytes).trim_start(), text);
        assert!(
            written.iter().any(|w| w.token.starts_with("bytes:\\x")),
            "{written:?}"
        );
        let bos = pieces
            .written(tokenizer.bos().expect("a begin token"))
            .expect("written");
        assert!(!bos.token.is_empty() && bos.bytes.is_empty(), "{bos:?}");
    }
}
