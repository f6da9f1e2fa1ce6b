//! How long a sequence is for its rotary embedding, which may depend on that.

use super::Session;
use crate::backend::Backend;
use crate::model::forward::{Span, Tokens};
use crate::model::ropes::Length;

impl<B: Backend> Session<'_, B> {
    /// Says that a sequence is about to read so many tokens, in whatever pieces.
    pub(super) fn reads(&mut self, sequence: usize, tokens: usize) {
        self.prompt_end = self.length(sequence).unwrap_or(0) + tokens;
    }

    /// Whose tokens are about to be rotated. One sequence alone is rotated by its length; several of a session share a table, which
    /// is that of their capacity.
    pub(super) fn rope_length(&self, rows: usize, tokens: Tokens<'_>) -> Length {
        let shared = Length::Shared(self.cache.capacity());
        match tokens {
            _ if self.cache.slots() > 1 => shared,
            Tokens::Run { position, .. } => {
                let end = position + rows;
                Length::Of(position..end, self.prompt_end.max(end))
            }
            Tokens::Steps { position, .. } => Length::Steps(position..position + rows),
            Tokens::Spans(spans) => {
                let end = |span: &Span| span.position + span.tokens;
                let end = spans.iter().map(end).max().unwrap_or(0);
                Length::Of(0..end, end)
            }
            Tokens::Each { .. } | Tokens::Mixed { .. } => shared,
        }
    }
}
