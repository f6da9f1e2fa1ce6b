//! A request that has a slot.

use super::request::{Request, RequestId, RequestTimes};
#[cfg(feature = "grammar")]
use crate::error::Error;
use crate::error::Result;
use crate::generate::Piece;
use crate::generate::sequence::Sequence;
use crate::model::Logprobs;
use crate::random::SplitMix64;
use web_time::Instant;

/// A request between its first step and its last.
pub(super) struct Active<'m> {
    pub(super) id: RequestId,
    pub(super) request: Request,
    pub(super) sequence: Sequence<'m>,
    /// What its tokens are drawn with.
    pub(super) random: SplitMix64,
    /// Tokens of the prompt whose keys and values are in the slot. The last token of the prompt is not fed with the others:
    /// decoding begins with it.
    pub(super) fed: usize,
    /// The newest token, which the model has not seen yet; `None` while the prompt is read.
    pub(super) last: Option<u32>,
    /// What the model says of the prompt's tokens, where that was asked for.
    pub(super) judged: Vec<Logprobs>,
    pub(super) arrived: Instant,
    pub(super) times: RequestTimes,
}

impl<'m> Active<'m> {
    pub(super) fn new(
        id: RequestId,
        request: Request,
        sequence: Sequence<'m>,
        (arrived, cached): (Instant, usize),
    ) -> Self {
        let times = RequestTimes {
            queued: arrived.elapsed(),
            prompt_tokens: request.prompt.len(),
            cached_tokens: cached,
            ..RequestTimes::default()
        };
        Self {
            id,
            sequence,
            random: SplitMix64::new(request.sampling.seed),
            request,
            fed: cached,
            last: None,
            judged: Vec::new(),
            arrived,
            times,
        }
    }

    /// Tokens of the prompt that are to be fed before decoding.
    pub(super) fn unfed(&self) -> &[u32] {
        let before = self.request.prompt.len().saturating_sub(1);
        self.request.prompt.get(self.fed..before).unwrap_or(&[])
    }

    /// Whether each of its tokens has to pass the host before the next one is computed.
    pub(super) fn step_by_step(&self) -> bool {
        self.request.logprobs.is_some() || self.is_held()
    }

    /// Whether a grammar holds its text.
    fn is_held(&self) -> bool {
        #[cfg(feature = "grammar")]
        return self.request.grammar.is_some();
        #[cfg(not(feature = "grammar"))]
        false
    }

    /// Which tokens may come next, a bit for each; `None`: all of them.
    ///
    /// # Errors
    /// Where the grammar asks for too much work, or allows none of the tokens that there are.
    pub(super) fn mask(&mut self) -> Result<Option<Vec<u32>>> {
        #[cfg(feature = "grammar")]
        if let Some(grammar) = &mut self.request.grammar {
            let mask = grammar.mask()?;
            if mask.iter().all(|&word| word == 0) {
                return Err(Error::usage(
                    "no token of the model fits the form of the text",
                    "change the schema",
                ));
            }
            return Ok(Some(mask));
        }
        Ok(None)
    }

    /// Whether tokens are chosen from the logits as the model gives them, whatever came before.
    pub(super) fn leaves_logits(&self) -> bool {
        let how = &self.request.sampling;
        self.request.logit_bias.is_empty()
            && how.repetition_penalty == 1.0
            && how.presence_penalty == 0.0
            && how.frequency_penalty == 0.0
    }

    /// Takes a token that was chosen.
    pub(super) fn push(&mut self, id: u32) -> Result<Piece> {
        #[cfg(feature = "grammar")]
        if let Some(grammar) = &mut self.request.grammar {
            grammar.accept(id)?;
        }
        let piece = self.sequence.push(id)?;
        if self.sequence.ids.len() == 1 {
            self.times.first_token = self.arrived.elapsed();
        }
        self.times.new_tokens = self.sequence.ids.len();
        self.last = Some(id);
        Ok(piece)
    }

    /// How long everything took, now that it has ended.
    pub(super) fn finished(&self) -> RequestTimes {
        let total = self.arrived.elapsed();
        RequestTimes {
            first_token: match self.times.new_tokens {
                0 => total,
                _ => self.times.first_token,
            },
            total,
            ..self.times
        }
    }
}
