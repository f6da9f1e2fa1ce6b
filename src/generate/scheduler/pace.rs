//! How much of the prompts goes with a step, so that running sequences keep their pace.

use std::time::Duration;

/// Fewest tokens of prompts in a step, however slow the device is: prompts go on, too.
const FEWEST: usize = 8;
/// Weight of a new measurement.
const NEW: f64 = 0.3;

/// What steps cost, as measured.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// Seconds of a step that only decodes.
    decode: Option<f64>,
    /// Seconds of a token of a prompt beside decoding ones.
    token: Option<f64>,
}

fn blend(before: &mut Option<f64>, new: f64) {
    *before = Some(before.map_or(new, |old| old + NEW * (new - old)));
}

impl Pace {
    /// A round of `steps` steps that only decoded took this long.
    pub(super) fn decoded(&mut self, steps: usize, took: Duration) {
        blend(&mut self.decode, took.as_secs_f64() / steps.max(1) as f64);
    }

    /// A step with `tokens` tokens of prompts took this long.
    pub(super) fn fed(&mut self, tokens: usize, took: Duration) {
        let rest = took.as_secs_f64() - self.decode.unwrap_or(0.0);
        blend(&mut self.token, rest.max(0.0) / tokens.max(1) as f64);
    }

    /// Tokens of prompts that may go with a step of sequences that wait for their next token, at most `most`.
    pub(super) fn tokens(&self, bound: Duration, most: usize) -> usize {
        let Some(token) = self.token else {
            return most.min(4 * FEWEST);
        };
        let left = bound.as_secs_f64() - self.decode.unwrap_or(0.0);
        let tokens = (left / token.max(1e-9)).clamp(0.0, most as f64) as usize;
        tokens.max(FEWEST).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_fit_the_bound() {
        let ms = Duration::from_millis;
        let mut pace = Pace::default();
        assert_eq!(pace.tokens(ms(50), 256), 32);
        pace.decoded(10, ms(100));
        pace.fed(40, ms(50)); // a millisecond each
        assert_eq!(pace.tokens(ms(50), 256), 40);
        assert_eq!(pace.tokens(ms(500), 256), 256);
        assert_eq!(pace.tokens(ms(1), 256), FEWEST);
        assert_eq!(pace.tokens(ms(1), 3), 3);
    }
}
