//! Perplexity of texts with the weights as they are deployed.

use crate::backend::{Backend, block_on};
use crate::error::Result;
use crate::evaluate::protocol::{self, Cutting, Words};
use crate::files::corpus::packing;
use crate::train::step::{Batch, Trainer};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub use crate::evaluate::protocol::Protocol;

/// A text in blocks of equal length, filled up where they are short.
pub(super) struct Text {
    /// The file's name, without its endings where that is enough to tell it from the others.
    pub name: String,
    tokens: Vec<u32>,
    labels: Vec<i32>,
    /// What the sum of losses is divided by.
    count: usize,
}

/// Tokenizes the files and cuts them into blocks of `length` tokens.
///
/// # Errors
/// As [`protocol::open`].
pub(super) fn open(
    files: &[PathBuf],
    protocol: Protocol,
    words: &Words<'_>,
    length: usize,
) -> Result<Vec<Text>> {
    let stride = length.div_ceil(2);
    let cutting = Cutting {
        protocol,
        length,
        stride,
    };
    let texts = protocol::open(files, cutting, words)?;
    Ok(texts.into_iter().map(|t| Text::of(t, length)).collect())
}

impl Text {
    /// The windows of a text as the trainer takes them: labels belong to the token itself and not to the one before it.
    fn of(text: protocol::Text, length: usize) -> Self {
        let blocks = text.windows.len() * length;
        let (mut tokens, mut labels) = (Vec::with_capacity(blocks), Vec::with_capacity(blocks));
        let mut count = text.count;
        for mut window in text.windows {
            // The trainer has no room for the last target of a document as long as a block (Protocol::Paper).
            count -= window.targets.len().saturating_sub(length - 1);
            window.targets.truncate(length - 1);
            window.tokens.truncate(length - 1);
            let filled = tokens.len() + length;
            let label = |&target: &u32| i32::try_from(target).unwrap_or(packing::IGNORED);
            labels.push(packing::IGNORED); // nothing stands before the first one
            labels.extend(window.targets.iter().map(label));
            tokens.extend(window.tokens);
            // causal: what stands behind a token does not matter to it
            labels.resize(filled, packing::IGNORED);
            tokens.resize(filled, 0);
        }
        Self {
            name: text.name,
            tokens,
            labels,
            count,
        }
    }
}

/// Perplexities by name.
pub(super) fn perplexities<B: Backend>(
    backend: &B,
    trainer: &mut Trainer<&B>,
    texts: &[Text],
) -> Result<BTreeMap<String, f64>> {
    let length = trainer.options().length;
    let at_once = trainer.options().n_tokens();
    let mut all = BTreeMap::new();
    for text in texts {
        let mut sum = 0.0;
        let pieces = text.tokens.chunks(at_once).zip(text.labels.chunks(at_once));
        for (tokens, labels) in pieces {
            let batch = Batch {
                tokens,
                labels,
                length,
            };
            sum += block_on(backend, trainer.evaluate(&[batch]))?.0;
        }
        all.insert(text.name.clone(), (sum / text.count as f64).exp());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::protocol::Window;
    use crate::model::session::IGNORED;

    #[test]
    fn labels_belong_to_tokens_and_targets_to_those_before() {
        let window = |tokens: &[u32], targets: &[u32]| Window {
            tokens: tokens.to_vec(),
            targets: targets.to_vec(),
        };
        let text = protocol::Text {
            windows: vec![
                window(&[1, 7, 8], &[IGNORED, 8, 9]),
                window(&[1, 5], &[5, 2]),
                window(&[1, 6, 7, 8], &[6, 7, 8, 2]),
            ],
            count: 8,
            ..protocol::Text::default()
        };
        let text = Text::of(text, 4);
        assert_eq!(text.tokens, [1, 7, 8, 0, 1, 5, 0, 0, 1, 6, 7, 0]);
        let no = packing::IGNORED;
        assert_eq!(text.labels, [no, no, 8, 9, no, 5, 2, no, no, 6, 7, 8]);
        assert_eq!(text.count, 7);
    }
}
