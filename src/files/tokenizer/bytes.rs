//! What each token stands for, in bytes.

use super::Tokenizer;
use crate::error::{Error, Result};
use serde_json::Value;
use std::collections::HashMap;

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenBytes {
    /// Text, or a piece of a character.
    Text(Vec<u8>),
    /// A special token, which no text has.
    Special(String),
    /// There is no token with this id.
    Nothing,
}

/// How the words of a vocabulary are spelled.
enum Spelling {
    /// A character for each byte, as GPT-2 has them.
    Bytes(HashMap<char, u8>),
    /// Text with a sign for the space, and `<0x0A>` for bytes where `fallback` is.
    Spaces { sign: char, fallback: bool },
}

impl Tokenizer {
    /// What the tokens of all ids below the number of the model's embeddings stand for, in the middle of a text: at its
    /// beginning a tokenizer may leave away a space.
    ///
    /// # Errors
    /// [`Error::File`] for a tokenizer whose tokens are not pieces of a text.
    pub fn token_bytes(&self) -> Result<Vec<TokenBytes>> {
        let spelling = self.spelling()?;
        let added = self.inner.get_added_tokens_decoder();
        let mut all = vec![TokenBytes::Nothing; self.vocab];
        for (word, id) in self.inner.get_vocab(false) {
            if let Some(slot) = all.get_mut(id as usize) {
                *slot = TokenBytes::Text(spelling.bytes(&word));
            }
        }
        for (id, token) in added {
            if let Some(slot) = all.get_mut(id as usize) {
                *slot = match token.special {
                    true => TokenBytes::Special(token.content),
                    false => TokenBytes::Text(token.content.into_bytes()),
                };
            }
        }
        Ok(all)
    }

    fn spelling(&self) -> Result<Spelling> {
        let decoder = self.inner.get_decoder().map(serde_json::to_value);
        let decoder = decoder.and_then(Result::ok).unwrap_or_default();
        let mut steps = Vec::new();
        steps_of(&decoder, &mut steps);
        let has = |name: &str| steps.iter().any(|step| step["type"] == name);
        if has("ByteLevel") {
            return Ok(Spelling::Bytes(byte_characters()));
        }
        let signs = steps
            .iter()
            .filter_map(|step| match step["type"].as_str()? {
                "Replace" if step["content"] == " " => {
                    step["pattern"]["String"].as_str()?.chars().next()
                }
                "Metaspace" => step["replacement"].as_str()?.chars().next(),
                _ => None,
            });
        if let Some(sign) = { signs }.next() {
            return Ok(Spelling::Spaces {
                sign,
                fallback: has("ByteFallback"),
            });
        }
        Err(Error::file(
            &self.file,
            "has tokens that are no pieces of a text",
            "take a model whose tokens are",
        ))
    }
}

/// The steps of a decoder, those within sequences as well.
fn steps_of<'d>(decoder: &'d Value, steps: &mut Vec<&'d Value>) {
    match decoder["decoders"].as_array() {
        Some(all) => all.iter().for_each(|one| steps_of(one, steps)),
        None => steps.push(decoder),
    }
}

impl Spelling {
    fn bytes(&self, word: &str) -> Vec<u8> {
        match self {
            // Words that are spelled otherwise are found nowhere.
            Self::Bytes(known) => word
                .chars()
                .map(|c| known.get(&c).copied())
                .collect::<Option<_>>()
                .unwrap_or_default(),
            Self::Spaces { sign, fallback } => {
                let byte = word
                    .strip_prefix("<0x")
                    .and_then(|rest| rest.strip_suffix('>'));
                let byte = byte.filter(|digits| *fallback && digits.len() == 2);
                match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    Some(byte) => vec![byte],
                    None => word.replace(*sign, " ").into_bytes(),
                }
            }
        }
    }
}

/// The characters that GPT-2 writes bytes with: printable ones are themselves, the others follow from U+0100 on.
fn byte_characters() -> HashMap<char, u8> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..);
    let others = (0..=255_u8).filter(|byte| !printable(byte));
    let others = others
        .zip(0x100..)
        .filter_map(|(byte, c)| Some((char::from_u32(c)?, byte)));
    (0..=255_u8)
        .filter(printable)
        .map(|byte| (char::from(byte), byte))
        .chain(others)
        .collect()
}
