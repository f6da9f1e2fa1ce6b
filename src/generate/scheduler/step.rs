//! What a step is made of, and what comes of it.

use super::active::Active;
use super::{Event, RequestId, Scheduler};
use crate::error::{Error, Result};
use crate::model::session::numbers;
use crate::model::{Choice, Feed, Logprobs, Sampling};
use crate::random::SplitMix64;
use web_time::Instant;

/// Tokens of a prompt that are judged in a step.
const JUDGED: usize = 128;

/// Events of requests, in their order.
pub(super) type Events = Vec<(RequestId, Event)>;

/// What decodes in a step.
pub(super) struct Decoding {
    pub(super) slots: Vec<usize>,
    pub(super) last: Vec<u32>,
    pub(super) how: Vec<Sampling>,
    pub(super) random: Vec<SplitMix64>,
    /// Most likely tokens that come with each, and whether any of them was asked for.
    pub(super) top: Option<usize>,
    pub(super) step_by_step: bool,
    /// Tokens that each of them may still get.
    pub(super) room: usize,
}

impl Decoding {
    pub(super) fn choice(&mut self) -> Choice<'_> {
        match self.how.iter().all(Sampling::is_greedy) {
            true => Choice::Greedy,
            false => Choice::Drawn(&self.how, &mut self.random),
        }
    }
}

impl<'m> Scheduler<'m> {
    /// One step: some tokens of prompts and some of sequences, whose events are appended to `events` in their order.
    ///
    /// # Errors
    /// Failures of the device, after which nothing of the scheduler can be used.
    pub async fn step(&mut self, events: &mut Events) -> Result<()> {
        if self.take_ahead(events).await? {
            return Ok(());
        }
        self.admit().await?;
        self.judge_prompt().await?;
        self.begin_decoding(events);
        self.hold(events)?;
        let feeding = self.feeding();
        let decoding = self.decoding();
        if !feeding.is_empty() {
            return self.mixed(feeding, decoding, events).await;
        }
        if decoding.slots.is_empty() {
            return Ok(());
        }
        self.decode(decoding, events).await
    }

    /// Reads a piece of a prompt whose tokens come with log-probabilities: of one at a time.
    async fn judge_prompt(&mut self) -> Result<()> {
        let wants = |active: &Active<'_>| active.request.prompt_logprobs && active.last.is_none();
        let mut slots = self.slots.iter();
        let Some(slot) = slots.position(|slot| {
            let active = slot.active.as_ref();
            active.is_some_and(|a| wants(a) && !a.unfed().is_empty())
        }) else {
            return Ok(());
        };
        let Some(active) = self.slots[slot].active.as_mut() else {
            return Ok(());
        };
        let tokens = active.unfed();
        let tokens = tokens[..tokens.len().min(JUDGED)].to_vec();
        let targets = active.request.prompt[active.fed + 1..][..tokens.len()].to_vec();
        let top = active.request.logprobs.unwrap_or(0);
        let judged = self.session.feed_judged(slot, &tokens, &targets, top);
        active.judged.extend(judged.await?);
        active.fed += tokens.len();
        self.slots[slot].extend_read(&tokens);
        self.counters.prompt_tokens += tokens.len() as u64;
        self.counters.steps += 1;
        Ok(())
    }

    /// Those whose prompts are read, but for the last token, decode from now on.
    fn begin_decoding(&mut self, events: &mut Events) {
        let mut ended = Vec::new();
        for (i, slot) in self.slots.iter_mut().enumerate() {
            let Some(active) = &mut slot.active else {
                continue;
            };
            if active.last.is_some() || !active.unfed().is_empty() {
                continue;
            }
            active.last = active.request.prompt.last().copied();
            let cached = active.times.cached_tokens;
            let logprobs = std::mem::take(&mut active.judged);
            events.push((active.id, Event::Prompt { cached, logprobs }));
            if active.sequence.finish.is_some() {
                ended.push(i);
            }
        }
        for slot in ended {
            self.finish(slot, events);
        }
    }

    /// Says which tokens may come next where a grammar holds the text.
    fn hold(&mut self, events: &mut Events) -> Result<()> {
        for slot in 0..self.slots.len() {
            let active = self.slots[slot].active.as_mut();
            let Some(active) = active.filter(|active| active.last.is_some()) else {
                continue;
            };
            match active.mask() {
                Ok(None) => {}
                Ok(mask) => self.session.allow(slot, mask.as_deref())?,
                Err(error) => self.fail(slot, error, events),
            }
        }
        Ok(())
    }

    /// Slots whose prompts are to be read, those that came first before the others.
    pub(super) fn feeding(&self) -> Vec<usize> {
        let wants = |i: &usize| {
            let active = self.slots[*i].active.as_ref();
            active.is_some_and(|a| !a.request.prompt_logprobs && !a.unfed().is_empty())
        };
        let mut feeding: Vec<_> = (0..self.slots.len()).filter(wants).collect();
        feeding.sort_by_key(|&i| self.slots[i].active.as_ref().map(|active| active.id));
        feeding
    }

    pub(super) fn decoding(&self) -> Decoding {
        let mut all = Decoding {
            slots: Vec::new(),
            last: Vec::new(),
            how: Vec::new(),
            random: Vec::new(),
            top: None,
            step_by_step: false,
            room: usize::MAX,
        };
        for (i, slot) in self.slots.iter().enumerate() {
            let Some(active) = &slot.active else {
                continue;
            };
            let Some(last) = active.last else {
                continue;
            };
            all.slots.push(i);
            all.last.push(last);
            all.how.push(active.request.sampling);
            all.random.push(active.random.clone());
            all.top = all.top.max(active.request.logprobs);
            all.step_by_step |= active.step_by_step();
            all.room = all.room.min(active.sequence.room());
        }
        all
    }

    /// One step with pieces of prompts.
    async fn mixed(
        &mut self,
        feeding: Vec<usize>,
        mut decoding: Decoding,
        events: &mut Events,
    ) -> Result<()> {
        let n = decoding.slots.len();
        let most = self.model.inner().options().batch.saturating_sub(n);
        let budget = match n {
            0 => most,
            _ => self.pace.tokens(self.options.pace, most),
        };
        let shares = self.shares(&feeding, budget);
        let prompts: Vec<(usize, Vec<u32>)> = shares
            .into_iter()
            .filter_map(|(slot, share)| {
                let active = self.slots[slot].active.as_ref()?;
                Some((slot, active.unfed()[..share].to_vec()))
            })
            .collect();
        let pieces: Vec<_> = prompts
            .iter()
            .map(|(slot, tokens)| Feed {
                sequence: *slot,
                tokens,
            })
            .collect();
        let clock = Instant::now();
        let (slots, last) = (decoding.slots.clone(), decoding.last.clone());
        let choice = decoding.choice();
        let ids = self.session.step(&slots, &last, &pieces, choice).await?;
        let fed: usize = prompts.iter().map(|(_, tokens)| tokens.len()).sum();
        self.pace.fed(fed, clock.elapsed());
        self.counters.prompt_tokens += fed as u64;
        for (slot, tokens) in &prompts {
            self.slots[*slot].extend_read(tokens);
            if let Some(active) = &mut self.slots[*slot].active {
                active.fed += tokens.len();
            }
        }
        self.take(decoding, ids, events).await
    }

    /// How many tokens of each prompt go with a step of at most `budget`: shares are equal, and what a short prompt leaves goes
    /// to those that came first.
    fn shares(&self, feeding: &[usize], budget: usize) -> Vec<(usize, usize)> {
        let unfed = |slot: usize| {
            let active = self.slots[slot].active.as_ref();
            active.map_or(0, |active| active.unfed().len())
        };
        let equal = (budget / feeding.len().max(1)).max(1);
        let mut left = budget;
        let mut shares = Vec::new();
        for &slot in feeding {
            let share = unfed(slot).min(equal).min(left);
            left -= share;
            shares.push((slot, share));
        }
        for (slot, share) in &mut shares {
            let more = (unfed(*slot) - *share).min(left);
            *share += more;
            left -= more;
        }
        shares.retain(|(_, share)| *share > 0);
        shares
    }

    /// What was chosen in the steps of a round, `[steps, slots]`.
    pub(super) async fn take(
        &mut self,
        decoding: Decoding,
        ids: Vec<u32>,
        events: &mut Events,
    ) -> Result<()> {
        let n = decoding.slots.len();
        self.counters.steps += (ids.len() / n.max(1)).max(1) as u64;
        if n == 0 {
            return Ok(());
        }
        let mut logprobs: Vec<Option<Logprobs>> = vec![None; n];
        if let Some(top) = decoding.top {
            let known: Vec<u32> = ids.iter().map(|&id| id.min(self.last_id())).collect();
            let judged = self.session.logprobs(&known, top).await?;
            logprobs = judged.into_iter().map(Some).collect();
        }
        for (slot, random) in decoding.slots.iter().zip(decoding.random) {
            if let Some(active) = &mut self.slots[*slot].active {
                active.random = random;
            }
        }
        for step in ids.chunks_exact(n) {
            for (i, (&slot, &id)) in decoding.slots.iter().zip(step).enumerate() {
                self.take_token(slot, id, logprobs[i].take(), events);
            }
        }
        Ok(())
    }

    fn last_id(&self) -> u32 {
        self.model.config().vocab.saturating_sub(1) as u32
    }

    /// The next token of the request in a slot; nothing where it has ended.
    fn take_token(
        &mut self,
        slot: usize,
        id: u32,
        logprobs: Option<Logprobs>,
        events: &mut Events,
    ) {
        let Some(active) = &mut self.slots[slot].active else {
            return;
        };
        let Some(last) = active.last else {
            return;
        };
        let name = active.id;
        if let Err(failed) = numbers(vec![id]) {
            self.fail(slot, failed, events);
            return;
        }
        let pushed = active.push(id);
        let asked = active.request.logprobs;
        let ended = active.sequence.finish.is_some();
        self.slots[slot].tokens.push(last);
        self.counters.new_tokens += 1;
        match pushed {
            Err(error) => self.fail(slot, error, events),
            Ok(piece) => {
                let logprobs = asked.and(logprobs).map(|mut all| {
                    all.top.truncate(asked.unwrap_or(0));
                    all
                });
                events.push((name, Event::Piece { piece, logprobs }));
                if ended {
                    self.finish(slot, events);
                }
            }
        }
    }

    fn finish(&mut self, slot: usize, events: &mut Events) {
        if let Some(active) = self.leave(slot)
            && let Some(finish) = active.sequence.finish
        {
            let times = active.finished();
            self.counters.finished += 1;
            events.push((active.id, Event::Finished { finish, times }));
        }
    }

    fn fail(&mut self, slot: usize, error: Error, events: &mut Events) {
        if let Some(active) = self.leave(slot) {
            self.counters.failed += 1;
            events.push((active.id, Event::Failed(error)));
        }
    }
}
