//! Drafts from the text itself: what followed the last time that the same few tokens stood there.

/// Tokens that must stand alike, the longest match first.
const NGRAMS: [usize; 2] = [3, 2];

/// Up to `most` tokens that may follow `tokens`: those that followed the last earlier place with the same three tokens at its
/// end, or else the same two. Empty where there is no such place.
pub(crate) fn draft(tokens: &[u32], most: usize) -> &[u32] {
    for n in NGRAMS {
        let Some(start) = tokens.len().checked_sub(n).filter(|&start| start > 0) else {
            continue;
        };
        let tail = &tokens[start..];
        // The place itself is left out, and so is one without a token behind it.
        let earlier = tokens[..tokens.len() - 1].windows(n);
        if let Some(found) = earlier
            .enumerate()
            .rev()
            .find(|(_, window)| *window == tail)
        {
            let first = found.0 + n;
            return &tokens[first..tokens.len().min(first + most)];
        }
    }
    &[]
}

/// Whether drafts pay: how many tokens a pass that checks them gives, and what it costs beside a plain one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Worth {
    /// Tokens of a pass with drafts, as measured lately.
    tokens: f64,
    /// Tokens until drafts are tried again.
    rest: usize,
}

impl Default for Worth {
    fn default() -> Self {
        Self {
            tokens: 2.0,
            rest: 0,
        }
    }
}

/// Weight of a new measurement.
const NEW: f64 = 0.2;
/// Tokens of a pass that are worth one with drafts, which costs more than a plain one: it has several tokens.
const LEAST: f64 = 1.3;
/// Tokens after which drafts are tried again once they did not pay.
const REST: usize = 48;

impl Worth {
    /// Whether to draft now.
    pub(crate) fn pays(&self) -> bool {
        self.rest == 0
    }

    /// A pass with drafts gave `tokens` tokens.
    pub(crate) fn checked(&mut self, tokens: usize) {
        self.tokens += NEW * (tokens as f64 - self.tokens);
        if self.tokens < LEAST {
            *self = Self {
                rest: REST,
                ..Self::default()
            };
        }
    }

    /// So many tokens came without drafts.
    pub(crate) fn passed(&mut self, tokens: usize) {
        self.rest = self.rest.saturating_sub(tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_repeat_what_followed_last_time() {
        let tokens = [1, 2, 3, 4, 5, 9, 2, 3, 7, 1, 2, 3];
        assert_eq!(draft(&tokens, 4), [4, 5, 9, 2], "three alike");
        assert_eq!(draft(&tokens[6..8], 4), [0; 0], "nothing before");
        let two = [5, 2, 3, 8, 2, 3];
        assert_eq!(draft(&two, 1), [8]);
        assert_eq!(
            draft(&[7, 7, 7, 7], 3),
            [7],
            "the last place with a token behind it"
        );
        assert_eq!(draft(&[], 3), [0; 0]);
        assert_eq!(draft(&[1], 3), [0; 0]);
    }

    #[test]
    fn drafts_rest_where_they_do_not_pay() {
        let mut worth = Worth::default();
        (0..20).for_each(|_| worth.checked(3));
        assert!(worth.pays());
        (0..40).for_each(|_| worth.checked(1));
        assert!(!worth.pays());
        worth.passed(REST);
        assert!(worth.pays());
    }
}
