//! The thread that owns the model: it takes requests, makes their tokens, and never waits for a client.

mod answers;
mod model;
mod work;

pub(super) use answers::Answers;
pub(super) use model::Loading;
pub(super) use work::run;

use super::error::ApiError;
use super::facts::Facts;
use crate::error::Result;
use crate::generate::scheduler::{Counters, Event, Refused, Request, RequestId, SlotState};
use std::time::Instant;
use tokio::sync::mpsc::UnboundedSender;

/// What makes the tokens of many requests, step by step, on the thread that it was made on.
pub(super) trait Engine {
    /// Takes a request; it begins with one of the next steps.
    fn submit(&mut self, request: Request) -> std::result::Result<RequestId, Refused>;
    /// Ends a request: no event of it comes any more.
    fn cancel(&mut self, id: RequestId);
    /// One step, whose events are appended to `events`. After an error the engine is of no use.
    fn step(&mut self, events: &mut Vec<(RequestId, Event)>) -> Result<()>;
    /// Whether there is nothing to do.
    fn is_idle(&self) -> bool;
    /// How it stands.
    fn status(&self) -> Status;
}

/// How an engine stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Status {
    /// Requests that wait for a slot.
    pub waiting: usize,
    pub slots: Vec<SlotState>,
    pub counters: Counters,
}

/// Makes an engine, and another one when the first has lost its device.
pub(super) trait Build {
    /// Makes an engine and lends it to `serve` until that returns.
    ///
    /// # Errors
    /// Those of making it, and those of `serve`.
    fn build(&mut self, serve: &mut Serving<'_>) -> Result<()>;
}

/// What an engine is lent to, with what there is to know about its model.
pub(super) type Serving<'a> = dyn FnMut(Facts, &mut dyn Engine) -> Result<()> + 'a;

/// A request on its way to the engine.
pub(super) struct Job {
    /// Its name until the engine gives it another one.
    pub ticket: u64,
    pub request: Request,
}

/// What the engine is told.
pub(super) enum Command {
    /// Takes all of these, or none: the choices of one answer.
    Submit {
        jobs: Vec<Job>,
        updates: UnboundedSender<Update>,
        /// When its client asked.
        arrived: Instant,
    },
    /// Ends the request of this ticket.
    Cancel(u64),
}

/// What the client's task is told.
pub(super) enum Update {
    /// All jobs are taken.
    Taken,
    /// None of the jobs is taken, or all have ended before their time.
    Failed(ApiError),
    /// What became of a job, by its place in [`Command::Submit`].
    Event(usize, Event),
}
