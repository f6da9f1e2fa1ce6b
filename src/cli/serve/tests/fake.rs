//! An engine without a model: each of its steps gives every request one token, unless it is told to fail.

use crate::cli::serve::engine::{Build, Engine, Serving, Status};
use crate::cli::serve::facts::Facts;
use crate::error::{Error, Result};
use crate::generate::scheduler::{
    Counters, Event, Refused, Request, RequestId, RequestTimes, SlotState,
};
use crate::generate::{Finish, Model, Piece};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Longest that anything of a script is waited for: longer than any test waits for what it wants to see.
const LONGEST: Duration = Duration::from_secs(90);

/// Longest that a step waits to be told what it does. Requests are taken between steps, so one that came just after a step
/// had begun must not wait for the script, which itself may wait for that request.
const BETWEEN: Duration = Duration::from_millis(5);

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A token for every request.
    Tokens,
    /// The device is lost.
    Lose,
    /// A mistake in the engine.
    Panic,
}

/// What engines do, and what they have done. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Script(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    /// Steps that may be taken.
    steps: VecDeque<Step>,
    /// What is done when none of those is left; `None` waits for more.
    endless: Option<Step>,
    /// Whether making an engine waits.
    held: bool,
    built: usize,
    /// Builds after which no more engine can be made.
    most_built: Option<usize>,
    cancelled: usize,
    running: usize,
}

impl Script {
    /// Engines that go on by themselves.
    pub(super) fn free() -> Self {
        let script = Self::default();
        script.change(|state| state.endless = Some(Step::Tokens));
        script
    }

    fn change<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let changed = f(&mut self.0.0.lock().expect("a script"));
        self.0.1.notify_all();
        changed
    }

    fn wait<T>(&self, f: impl Fn(&mut State) -> Option<T>) -> T {
        let mut state = self.0.0.lock().expect("a script");
        loop {
            if let Some(found) = f(&mut state) {
                return found;
            }
            let (woken, waited) = self.0.1.wait_timeout(state, LONGEST).expect("a script");
            assert!(!waited.timed_out(), "what a test waits for does not come");
            state = woken;
        }
    }

    /// What the next step does, if that is told soon.
    fn next(&self) -> Option<Step> {
        let next = |state: &mut State| state.steps.pop_front().or(state.endless);
        let mut state = self.0.0.lock().expect("a script");
        next(&mut state).or_else(|| {
            let (mut state, _) = self.0.1.wait_timeout(state, BETWEEN).expect("a script");
            next(&mut state)
        })
    }

    /// Lets these steps be taken.
    pub(super) fn steps(&self, steps: &[Step]) {
        self.change(|state| state.steps.extend(steps));
    }

    /// From now on all steps are like this.
    pub(super) fn all(&self, step: Step) {
        self.change(|state| state.endless = Some(step));
    }

    /// Whether engines wait before they are made.
    pub(super) fn hold(&self, held: bool) {
        self.change(|state| state.held = held);
    }

    /// No more than so many engines can be made.
    pub(super) fn at_most(&self, built: usize) {
        self.change(|state| state.most_built = Some(built));
    }

    pub(super) fn built(&self) -> usize {
        self.change(|state| state.built)
    }

    pub(super) fn cancelled(&self) -> usize {
        self.change(|state| state.cancelled)
    }

    pub(super) fn until_cancelled(&self, n: usize) {
        self.wait(|state| (state.cancelled >= n).then_some(()));
    }

    pub(super) fn until_running(&self, n: usize) {
        self.wait(|state| (state.running == n).then_some(()));
    }
}

/// Makes engines that do as a script says.
pub(super) struct Scripted(pub Script);

impl Build for Scripted {
    fn build(&mut self, serve: &mut Serving<'_>) -> Result<()> {
        let script = &self.0;
        script.wait(|state| (!state.held).then_some(()));
        let room = script.change(|state| {
            state.built += 1;
            state.running = 0;
            state.most_built.is_none_or(|most| state.built <= most)
        });
        if !room {
            return Err(Error::device("there is no device any more", "plug one in"));
        }
        let facts = Facts::of(&Model::builtin()?, "fake".to_owned(), 8)?;
        serve(
            facts,
            &mut Fake {
                script: script.clone(),
                requests: Vec::new(),
                named: 0,
            },
        )
    }
}

struct Fake {
    script: Script,
    /// With the tokens that each has.
    requests: Vec<(RequestId, Request, usize)>,
    named: u64,
}

impl Fake {
    fn tell(&self) {
        self.script
            .change(|state| state.running = self.requests.len());
    }
}

impl Engine for Fake {
    fn submit(&mut self, request: Request) -> std::result::Result<RequestId, Refused> {
        if self.requests.len() >= 4 {
            return Err(Refused::Full { waiting: 4 });
        }
        self.named += 1;
        let id = RequestId(self.named);
        self.requests.push((id, request, 0));
        self.tell();
        Ok(id)
    }

    fn cancel(&mut self, id: RequestId) {
        let before = self.requests.len();
        self.requests.retain(|(other, ..)| *other != id);
        let gone = before - self.requests.len();
        self.script.change(|state| state.cancelled += gone);
        self.tell();
    }

    fn step(&mut self, events: &mut Vec<(RequestId, Event)>) -> Result<()> {
        match self.script.next() {
            None => return Ok(()),
            Some(Step::Lose) => {
                return Err(Error::device("the device is lost", "buy another one"));
            }
            Some(Step::Panic) => panic!("a mistake"),
            Some(Step::Tokens) => {}
        }
        for (id, request, tokens) in &mut self.requests {
            if *tokens == 0 {
                let (cached, logprobs) = (0, Vec::new());
                events.push((*id, Event::Prompt { cached, logprobs }));
            }
            *tokens += 1;
            let text = format!(" {tokens}");
            let piece = Piece { id: 300, text };
            events.push((
                *id,
                Event::Piece {
                    piece,
                    logprobs: None,
                },
            ));
            if *tokens == request.max_tokens {
                let (finish, times) = (Finish::Length, RequestTimes::default());
                events.push((*id, Event::Finished { finish, times }));
            }
        }
        self.requests
            .retain(|(_, request, tokens)| *tokens < request.max_tokens);
        self.tell();
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.requests.is_empty()
    }

    fn status(&self) -> Status {
        let slot = |(id, _, tokens): &(RequestId, Request, usize)| SlotState {
            request: Some(*id),
            tokens: *tokens,
            prompt_tokens: 1,
            new_tokens: *tokens,
        };
        Status {
            waiting: 0,
            slots: self.requests.iter().map(slot).collect(),
            counters: Counters::default(),
        }
    }
}
