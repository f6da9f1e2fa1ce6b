//! The loop: prompt in, tokens out.

#[cfg(feature = "grammar")]
use super::grammar::Grammar;
use super::lookup::{self, Worth};
use super::options::Generate;
use super::sequence::{Finish, Piece, Sequence, Timings};
use crate::backend::Device;
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
pub struct Generator<'m> {
    session: Session<'m, Device>,
    sampler: Sampler,
    speculation: Option<Speculation<'m, Device>>,
    /// Room for drafts from the text itself, and whether they pay.
    lookup: Option<(Speculation<'m, Device>, Worth)>,
    #[cfg(feature = "grammar")]
    grammar: Option<Grammar>,
    /// Whether the host chooses each token.
    on_host: bool,
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

impl<'m> Generator<'m> {
    /// Goes on from `sequence` in `session`, which has seen some first tokens of its prompt, but not all of them, and
    /// compiles what that will need.
    pub(super) async fn new(
        mut session: Session<'m, Device>,
        sequence: Sequence<'m>,
        options: &Generate,
        draft: Option<&'m model::Model<Device>>,
    ) -> Result<Self> {
        let sampler = Sampler::new(options.sampling)?.with_bias(&options.logit_bias)?;
        let on_host = sampler.wants() == Wants::All || options.is_held();
        let speculation = speculation(&session, on_host, options.speculate, draft)?;
        let lookup = match options.lookup {
            0 => None,
            most => Some((looking_up(&session, on_host, most)?, Worth::default())),
        };
        let clock = Instant::now();
        let cached = session.position();
        session
            .prepare(&[sequence.prompt_ids.len() - cached])
            .await?;
        if let Some(speculation) = &speculation {
            session.prepare_speculation(speculation).await?;
        }
        if let Some((room, _)) = &lookup {
            session.prepare_drafts(room).await?;
        }
        Ok(Self {
            timings: Timings {
                prepare: clock.elapsed(),
                prompt_tokens: sequence.prompt_ids.len(),
                cached_tokens: cached,
                ..Timings::default()
            },
            session,
            sampler,
            speculation,
            lookup,
            #[cfg(feature = "grammar")]
            grammar: options.grammar.clone(),
            on_host,
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
        self.sampler.accept_prompt(&self.sequence.prompt_ids);
        let new = &self.sequence.prompt_ids[self.timings.cached_tokens..];
        match new.split_last() {
            // A server decodes the last token of a prompt, too: exact texts are those that it gives.
            Some((last, before)) if self.session.is_exact() && !before.is_empty() => {
                self.session.feed(before).await?;
                self.session.feed(&[*last]).await?;
            }
            _ => self.session.feed(new).await?,
        }
        if self.sequence.room() == 0 {
            self.session.argmax().await?; // waits, so that the time of the prompt is measured
        } else {
            let id = self.choose().await?;
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
        if self.on_host {
            self.session.feed(&[last]).await?;
            let id = self.choose().await?;
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
        } else if let Some(ids) = self.look_up(last).await? {
            self.take(ids);
        } else {
            let steps = match &self.lookup {
                // soon again, where a draft may come
                Some((_, worth)) if worth.pays() => self.round.min(4),
                _ => self.round,
            };
            let ahead = self.session.steps_ahead(&[0]);
            let steps = ahead.unwrap_or(steps.min(self.sequence.room()));
            let left = self.sequence.room() - steps;
            let next = match self.lookup.is_none() && self.session.goes_ahead() {
                true => self.round.min(left),
                false => 0,
            };
            let (sampler, session) = (&mut self.sampler, &mut self.session);
            let ids = sampler.follow_ahead(session, last, [steps, next]).await?;
            self.take(ids);
            self.round = next_round(clock.elapsed(), steps);
            if let Some((_, worth)) = &mut self.lookup {
                worth.passed(steps);
            }
        }
        self.timings.decode += clock.elapsed();
        Ok(())
    }

    /// Some more tokens by drafts from the text itself; `None` where there are no drafts, or where they do not pay.
    async fn look_up(&mut self, last: u32) -> Result<Option<Vec<u32>>> {
        let Some((with, worth)) = &mut self.lookup else {
            return Ok(None);
        };
        let most = with.most().min(self.sequence.room().saturating_sub(1));
        if most == 0 || !worth.pays() {
            return Ok(None);
        }
        let text = [&self.sequence.prompt_ids[..], &self.sequence.ids].concat();
        let drafts = lookup::draft(&text, most);
        if drafts.is_empty() {
            return Ok(None);
        }
        let (sampler, session) = (&mut self.sampler, &mut self.session);
        let ids = sampler.check_drafts(session, with, last, drafts).await?;
        worth.checked(ids.len());
        self.timings.drafted += drafts.len();
        self.timings.accepted += ids.len() - 1;
        Ok(Some(ids))
    }

    /// Chooses what follows the sequence of the session.
    async fn choose(&mut self) -> Result<u32> {
        #[cfg(feature = "grammar")]
        if let Some(grammar) = &mut self.grammar {
            return grammar.choose(&mut self.sampler, &self.session).await;
        }
        self.sampler.next(&self.session).await
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

    /// The session with the ids that it has seen; `None` after an error.
    #[cfg(feature = "templates")]
    pub(super) fn into_session(self) -> Option<(Session<'m, Device>, Vec<u32>)> {
        if self.failed {
            return None;
        }
        let mut seen = self.sequence.prompt_ids;
        seen.extend(self.sequence.ids);
        seen.extend(self.chosen);
        seen.truncate(self.session.position());
        Some((self.session, seen))
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
fn speculation<'m>(
    session: &Session<'m, Device>,
    on_host: bool,
    drafted: usize,
    draft: Option<&'m model::Model<Device>>,
) -> Result<Option<Speculation<'m, Device>>> {
    if drafted == 0 {
        return Ok(None);
    }
    let Some(draft) = draft else {
        return Err(Error::usage(
            "drafts of a model without a reading that drafts",
            "load it with one",
        ));
    };
    on_device(on_host)?;
    session.speculation(draft, drafted).map(Some)
}

/// Room for drafts from the text itself.
fn looking_up<'m>(
    session: &Session<'m, Device>,
    on_host: bool,
    most: usize,
) -> Result<Speculation<'m, Device>> {
    on_device(on_host)?;
    session.draft_room(most)
}

/// Refuses drafts where tokens are chosen on the host.
fn on_device(on_host: bool) -> Result<()> {
    if !on_host {
        return Ok(());
    }
    Err(Error::usage(
        "drafts of tokens that are chosen on the host, as with a penalty, a logit bias or a schema",
        "choose without them, or draft none",
    ))
}

/// Waits for the device on this thread.
#[cfg(feature = "blocking")]
impl Iterator for Generator<'_> {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Result<Piece>> {
        let backend = self.session.backend();
        crate::backend::block_on(backend, self.next_piece()).transpose()
    }
}
