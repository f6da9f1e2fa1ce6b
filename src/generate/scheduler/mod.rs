//! Many requests on one model: who gets a slot, what a step is made of, what is kept for later.
//!
//! Requests get slots in the order in which they came. A step takes one token of every sequence that decodes, and with them
//! pieces of the prompts of the others, no longer than [`SchedulerOptions::pace`] allows; where no prompt is to be read,
//! several steps follow each other without the host. What a sequence leaves in its slot stays there until the slot is needed,
//! and a request that begins alike begins behind it.
//!
//! With [`Options::exact`](crate::Options) an answer depends neither on the requests beside it nor on what was left in its slot,
//! token for token.

mod active;
mod pace;
mod request;
mod round;
mod slots;
mod step;

pub use request::{
    Counters, Event, MAX_LOGPROBS, Refused, Request, RequestId, RequestTimes, SlotState,
};

use self::active::Active;
use self::pace::Pace;
use self::slots::Slot;
use super::lookup::Worth;
use super::model::Model;
use super::sequence::Sequence;
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::model::{Sampler, Session, Speculation};
use std::collections::VecDeque;
use std::time::Duration;
use web_time::Instant;

/// How a scheduler works.
#[derive(Debug, Clone)]
pub struct SchedulerOptions {
    /// Sequences that go on together, at most the model's batch.
    pub parallel: usize,
    /// Most tokens of a sequence, prompt included; `None` is what the model was loaded for.
    pub context: Option<usize>,
    /// Requests that may wait for a slot.
    pub most_waiting: usize,
    /// How long running sequences may at most wait for their next token while prompts are read. A step has a few tokens of
    /// prompts in any case, so that they go on, too.
    pub pace: Duration,
    /// Tokens that are drafted at once from n-grams of a sequence's own tokens, for the model to check together; 0 drafts none.
    pub lookup: usize,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self {
            parallel: 4,
            context: None,
            most_waiting: 256,
            pace: Duration::from_millis(100),
            lookup: 0,
        }
    }
}

/// Contexts are not made shorter than this to fit: where they do not fit then, that is an error.
const SHORTEST: usize = 512;

/// Caches for all slots: of the context that is asked for, or else of the model's, or half of it, a quarter and so on where the
/// device has no room for that.
fn room<'m>(model: &'m Model, options: &SchedulerOptions) -> Result<Session<'m, Device>> {
    let inner = model.inner();
    let mut context = options.context.unwrap_or(inner.options().context).max(1);
    loop {
        match inner.sessions_of(options.parallel, context) {
            Err(Error::Device { .. }) if options.context.is_none() && context > SHORTEST => {
                context /= 2;
            }
            session => return session,
        }
    }
}

/// A request without a slot.
struct Waiting {
    id: RequestId,
    request: Request,
    arrived: Instant,
}

/// Serves many requests with one model: between two steps requests join and leave.
///
/// It has no clients and no network: whoever has it calls [`Scheduler::step`] as long as [`Scheduler::is_idle`] says no, and
/// hands the events on.
pub struct Scheduler<'m> {
    model: &'m Model,
    options: SchedulerOptions,
    session: Session<'m, Device>,
    slots: Vec<Slot<'m>>,
    waiting: VecDeque<Waiting>,
    /// Requests so far.
    requests: u64,
    pace: Pace,
    /// Room for drafts from a sequence's own tokens, and whether they pay.
    lookup: Option<(Speculation<'m, Device>, Worth)>,
    /// Steps of the next round that only decodes.
    round: usize,
    counters: Counters,
}

impl<'m> Scheduler<'m> {
    /// Slots for `options.parallel` sequences of `model`, with their caches, and the kernels that steps need.
    ///
    /// # Errors
    /// [`Error::Usage`] for options that make no sense, [`Error::Device`] where there is no room.
    pub async fn new(model: &'m Model, options: SchedulerOptions) -> Result<Self> {
        let mut session = room(model, &options)?;
        for slot in 0..options.parallel {
            session.end(slot);
        }
        session.prepare_steps().await?;
        let lookup = match options.lookup {
            0 => None,
            most => Some((session.draft_room(most)?, Worth::default())),
        };
        if let Some((room, _)) = &lookup {
            session.prepare_drafts(room).await?;
        }
        Ok(Self {
            model,
            session,
            slots: (0..options.parallel).map(|_| Slot::default()).collect(),
            waiting: VecDeque::new(),
            requests: 0,
            pace: Pace::default(),
            lookup,
            round: 1,
            counters: Counters::default(),
            options,
        })
    }

    /// Takes a request; it begins with one of the next steps.
    ///
    /// # Errors
    /// [`Refused`] says why not.
    pub fn submit(&mut self, request: Request) -> Result<RequestId, Refused> {
        self.check(&request).map_err(Refused::Bad)?;
        if self.waiting.len() >= self.options.most_waiting.max(1) {
            return Err(Refused::Full {
                waiting: self.waiting.len(),
            });
        }
        self.requests += 1;
        let id = RequestId(self.requests);
        self.waiting.push_back(Waiting {
            id,
            request,
            arrived: Instant::now(),
        });
        Ok(id)
    }

    /// Whether `request` makes sense for this model and fits the context.
    ///
    /// # Errors
    /// [`Error::Context`] with the counts where it does not fit, [`Error::Usage`] for everything else.
    pub fn check(&self, request: &Request) -> Result<()> {
        let refuse = |what: String, hint: &str| Err(Error::usage(what, hint));
        Sampler::new(request.sampling)?;
        let vocab = self.model.config().vocab;
        let known = |id: u32| (id as usize) < vocab;
        if request.prompt.is_empty() {
            return refuse("the prompt is empty".to_owned(), "give it a token");
        }
        if let Some(id) = request.prompt.iter().find(|&&id| !known(id)) {
            let what = format!("token id {id} is beyond the vocabulary of {vocab}");
            return refuse(what, "use the tokenizer that belongs to the model");
        }
        let mut bias = request.logit_bias.iter();
        if let Some((id, by)) = bias.find(|(id, by)| !known(*id) || by.is_nan()) {
            let what = format!("a logit bias of {by} for token id {id}");
            return refuse(what, "give a number, for an id of the vocabulary");
        }
        if request.stop.iter().any(String::is_empty) {
            let hint = "give the string that ends the text";
            return refuse("a stop string is empty".to_owned(), hint);
        }
        if let Some(n) = request.logprobs.filter(|&n| n > MAX_LOGPROBS) {
            let what = format!("log-probabilities of {n} tokens at each position");
            return refuse(what, &format!("ask for at most {MAX_LOGPROBS}"));
        }
        let (prompt, new, context) = (request.prompt.len(), request.max_tokens, self.context());
        match prompt.checked_add(new) {
            Some(all) if all <= context => Ok(()),
            _ => Err(Error::Context {
                prompt,
                new,
                context,
            }),
        }
    }

    /// Ends a request whose client is gone, at once: no event of it comes any more. Whether there was such a request.
    pub fn cancel(&mut self, id: RequestId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting.id != id);
        let mut found = self.waiting.len() < before;
        let has = |slot: &Slot<'_>| slot.active.as_ref().is_some_and(|active| active.id == id);
        if let Some(slot) = self.slots.iter().position(has) {
            self.leave(slot);
            found = true;
        }
        self.counters.cancelled += u64::from(found);
        found
    }

    /// Takes the request out of a slot, which is free then and keeps what is there.
    fn leave(&mut self, slot: usize) -> Option<Active<'m>> {
        self.session.end(slot);
        self.slots[slot].active.take()
    }

    /// Gives free slots to requests that wait, in their order.
    async fn admit(&mut self) -> Result<()> {
        while let Some(next) = self.waiting.front() {
            let reuse = next.request.reuse_prefix && !next.request.prompt_logprobs;
            let read_only = !self.model.inner().decodes_as_prompts();
            let keeps = |slot, tokens| reuse && self.session.keeps(slot, tokens);
            let prompt = &next.request.prompt;
            let Some(place) = slots::place(&self.slots, prompt, read_only, keeps) else {
                return Ok(());
            };
            let Some(next) = self.waiting.pop_front() else {
                return Ok(());
            };
            self.take_place(place).await?;
            let sequence = self.sequence(&next.request)?;
            self.counters.cached_tokens += place.tokens as u64;
            let begun = (next.arrived, place.tokens);
            let Request {
                sampling,
                prompt,
                logit_bias,
                ..
            } = &next.request;
            let slot = place.slot;
            self.session.adjust(slot, sampling, prompt, logit_bias)?;
            let active = Active::new(next.id, next.request, sequence, begun);
            self.slots[place.slot].active = Some(active);
        }
        Ok(())
    }

    /// Makes a slot ready for a request.
    async fn take_place(&mut self, place: slots::Place) -> Result<()> {
        let tokens = place.tokens;
        match place.copy {
            None => {
                self.session.begin_in(place.slot, tokens);
                self.slots[place.slot].truncate(tokens);
            }
            Some(src) => {
                self.session.begin_in(place.slot, 0);
                self.session.copy_prefix(src, place.slot, tokens).await?;
                let read = self.slots[src].read.min(tokens);
                let shared = self.slots[src].tokens[..tokens].to_vec();
                let slot = &mut self.slots[place.slot];
                (slot.tokens, slot.read) = (shared, read);
            }
        }
        self.slots[place.slot].used = self.requests;
        Ok(())
    }

    fn sequence(&self, request: &Request) -> Result<Sequence<'m>> {
        let eos = match request.ignore_eos {
            true => Vec::new(),
            false => [&*self.model.config().eos, &request.end_tokens].concat(),
        };
        let (prompt, stop) = (request.prompt.clone(), request.stop.clone());
        Sequence::new(
            self.model.tokenizer(),
            eos,
            prompt,
            request.max_tokens,
            stop,
        )
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.slots.iter().all(|slot| slot.active.is_none())
    }

    /// Requests that wait for a slot.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What each slot is doing.
    pub fn slots(&self) -> Vec<SlotState> {
        let state = |slot: &Slot<'_>| SlotState {
            request: slot.active.as_ref().map(|active| active.id),
            tokens: slot.tokens.len(),
            prompt_tokens: slot.active.as_ref().map_or(0, |a| a.times.prompt_tokens),
            new_tokens: slot.active.as_ref().map_or(0, |a| a.times.new_tokens),
        };
        self.slots.iter().map(state).collect()
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Most tokens of a sequence.
    pub fn context(&self) -> usize {
        self.session.capacity()
    }
}
