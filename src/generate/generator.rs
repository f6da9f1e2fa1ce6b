//! The loop: prompt in, tokens out.

use super::options::Generate;
use super::sequence::{Finish, Piece, Sequence, Timings};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::{self, Sampler, Session, Speculation, Wants};
use std::collections::VecDeque;
use std::time::Duration;
use web_time::Instant;

/// Seconds that a round of decoding should last, after which its text is handed out.
const ROUND_SECONDS: f64 = 0.03;
/// Most tokens of a round.
const LONGEST_ROUND: f64 = 16.0;

/// Tokens of the next round, when `steps` tokens took this long. Rounds are so short that nobody sees the text come in them.
pub(super) fn next_round(elapsed: Duration, steps: usize) -> usize {
    let seconds = elapsed.as_secs_f64() / steps as f64;
    (ROUND_SECONDS / seconds).clamp(1.0, LONGEST_ROUND) as usize
}

/// The text that follows a prompt, as an iterator of its pieces.
///
/// Tokens are computed in rounds of about 30 milliseconds, in which the device chooses their ids by itself; so it computes
/// little beyond the end of the sequence. [`Generator::finish`] says why the sequence ended, [`Generator::timings`] how long it
/// took.
pub struct Generator<'m, B: Backend> {
    session: Session<'m, B>,
    sampler: Sampler,
    speculation: Option<Speculation<'m, B>>,
    sequence: Sequence<'m>,
    /// Ids that were chosen and not handed out yet.
    chosen: VecDeque<u32>,
    /// The newest chosen id, which the session has not seen yet.
    last: Option<u32>,
    /// Tokens of the next round.
    round: usize,
    begun: bool,
    failed: bool,
    timings: Timings,
}

impl<'m, B: Backend> Generator<'m, B> {
    /// Goes on from `sequence` in `session`, which is at its beginning, and compiles what that will need.
    pub(super) async fn new(
        mut session: Session<'m, B>,
        sequence: Sequence<'m>,
        options: &Generate,
        draft: Option<&'m model::Model<B>>,
    ) -> Result<Self> {
        let sampler = Sampler::new(options.sampling)?;
        let speculation = speculation(&session, sampler.wants(), options.speculate, draft)?;
        let clock = Instant::now();
        session.prepare(&[sequence.prompt_ids.len()]).await?;
        if let Some(speculation) = &speculation {
            session.prepare_speculation(speculation).await?;
        }
        Ok(Self {
            timings: Timings {
                prepare: clock.elapsed(),
                prompt_tokens: sequence.prompt_ids.len(),
                ..Timings::default()
            },
            session,
            sampler,
            speculation,
            sequence,
            chosen: VecDeque::new(),
            last: None,
            round: 1,
            begun: false,
            failed: false,
        })
    }

    /// The next piece; `None` at the end of the sequence. This is what the iterator gives, for those who must not block.
    ///
    /// # Errors
    /// Failures of the device; [`crate::Error::NonFinite`] when no logit is a number. The sequence ends with an error.
    pub async fn next_piece(&mut self) -> Result<Option<Piece>> {
        if self.failed {
            return Ok(None);
        }
        let piece = self.piece().await;
        self.failed = piece.is_err();
        piece
    }

    async fn piece(&mut self) -> Result<Option<Piece>> {
        if !self.begun {
            self.begun = true;
            self.prompt().await?;
        }
        if self.sequence.finish.is_some() {
            return Ok(None);
        }
        if self.chosen.is_empty() {
            self.decode().await?;
        }
        let Some(id) = self.chosen.pop_front() else {
            return Ok(None);
        };
        let piece = self.sequence.push(id)?;
        self.timings.new_tokens = self.sequence.ids.len();
        Ok(Some(piece))
    }

    /// Feeds the prompt and chooses the first token.
    async fn prompt(&mut self) -> Result<()> {
        let clock = Instant::now();
        self.sampler.accept(&self.sequence.prompt_ids);
        self.session.feed(&self.sequence.prompt_ids).await?;
        if self.sequence.room() == 0 {
            self.session.argmax().await?; // waits, so that the time of the prompt is measured
        } else {
            let id = self.sampler.next(&self.session).await?;
            self.take(vec![id]);
        }
        self.timings.first_token = clock.elapsed();
        Ok(())
    }

    /// Chooses some more tokens.
    async fn decode(&mut self) -> Result<()> {
        let Some(last) = self.last else {
            return Ok(());
        };
        let clock = Instant::now();
        if self.sampler.wants() == Wants::All {
            self.session.feed(&[last]).await?;
            let id = self.sampler.next(&self.session).await?;
            self.take(vec![id]);
        } else if let Some(with) = self
            .speculation
            .as_ref()
            .filter(|_| self.sequence.room() > 1)
        {
            let steps = with.most().min(self.sequence.room() - 1);
            let (sampler, session) = (&mut self.sampler, &mut self.session);
            let ids = sampler.speculate(session, with, last, steps).await?;
            self.timings.drafted += steps;
            self.timings.accepted += ids.len() - 1;
            self.take(ids);
        } else {
            let steps = self.round.min(self.sequence.room());
            let ids = self.sampler.follow(&mut self.session, last, steps).await?;
            self.take(ids);
            self.round = next_round(clock.elapsed(), steps);
        }
        self.timings.decode += clock.elapsed();
        Ok(())
    }

    fn take(&mut self, ids: Vec<u32>) {
        self.last = ids.last().copied().or(self.last);
        self.chosen.extend(ids);
    }

    pub(super) fn sequence(&self) -> &Sequence<'m> {
        &self.sequence
    }

    pub(super) fn into_sequence(self) -> Sequence<'m> {
        self.sequence
    }

    /// Why the sequence ended; `None` while it goes on.
    pub fn finish(&self) -> Option<Finish> {
        self.sequence.finish
    }

    /// How long it took so far.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// Ids of the prompt.
    pub fn prompt_ids(&self) -> &[u32] {
        &self.sequence.prompt_ids
    }

    /// Ids of the new tokens so far.
    pub fn ids(&self) -> &[u32] {
        &self.sequence.ids
    }
}

/// Room for drafts, if any are asked for.
fn speculation<'m, B: Backend>(
    session: &Session<'m, B>,
    wants: Wants,
    drafted: usize,
    draft: Option<&'m model::Model<B>>,
) -> Result<Option<Speculation<'m, B>>> {
    if drafted == 0 {
        return Ok(None);
    }
    let Some(draft) = draft else {
        return Err(Error::usage(
            "drafts of a model without a reading that drafts",
            "load it with one",
        ));
    };
    if wants == Wants::All {
        return Err(Error::usage(
            "drafts of tokens that are chosen on the host, as with a repetition penalty or all candidates",
            "choose among at most 256 candidates without a penalty, or draft none",
        ));
    }
    session.speculation(draft, drafted).map(Some)
}

/// Waits for the device on this thread.
#[cfg(feature = "blocking")]
impl<B: Backend> Iterator for Generator<'_, B> {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Result<Piece>> {
        let backend = self.session.backend();
        crate::backend::block_on(backend, self.next_piece()).transpose()
    }
}
