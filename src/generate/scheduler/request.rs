//! What a scheduler is asked for, and what it answers.

use crate::error::Error;
use crate::generate::{Finish, Piece};
use crate::model::{Logprobs, Sampling};
use std::time::Duration;

/// Names one request of a scheduler. No two requests of a scheduler have the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One sequence that a client wants: its prompt, how its tokens are chosen, and when it ends.
#[derive(Clone)]
pub struct Request {
    /// Token ids of the prompt, at least one.
    pub prompt: Vec<u32>,
    /// Most new tokens. With 0 the prompt is only read, for its [`Request::prompt_logprobs`].
    pub max_tokens: usize,
    /// The text ends before the first of these strings, however tokens cut it. None of them may be empty.
    pub stop: Vec<String>,
    /// How tokens are chosen. A repetition penalty counts all tokens of prompt and text, whatever its window.
    pub sampling: Sampling,
    /// Numbers that are added to the logits of tokens: ids with their numbers, which may be minus infinity.
    pub logit_bias: Vec<(u32, f32)>,
    /// With `Some(n)`, each new token comes with its log-probability and those of the `n` most likely tokens, at most
    /// [`MAX_LOGPROBS`].
    pub logprobs: Option<usize>,
    /// Whether the prompt's tokens come with log-probabilities as well, as many as [`Request::logprobs`] says. Such a prompt is
    /// read from its beginning, and never from what other requests left.
    pub prompt_logprobs: bool,
    /// Tokens that end the text beside those of the model's configuration: of a chat those of its template.
    pub end_tokens: Vec<u32>,
    /// Whether end tokens are tokens like others.
    pub ignore_eos: bool,
    /// Whether the prompt may begin behind a prefix that another request left in a slot.
    pub reuse_prefix: bool,
    /// What the text is held to, at its beginning.
    #[cfg(feature = "grammar")]
    pub grammar: Option<crate::generate::Grammar>,
}

/// Most likely tokens that may be asked for with each token.
pub const MAX_LOGPROBS: usize = 20;

impl Default for Request {
    fn default() -> Self {
        Self {
            prompt: Vec::new(),
            max_tokens: 128,
            stop: Vec::new(),
            sampling: Sampling::default(),
            logit_bias: Vec::new(),
            logprobs: None,
            prompt_logprobs: false,
            end_tokens: Vec::new(),
            ignore_eos: false,
            reuse_prefix: true,
            #[cfg(feature = "grammar")]
            grammar: None,
        }
    }
}

/// What became of a request in a step.
#[derive(Debug)]
pub enum Event {
    /// The prompt is read; the first new token comes next.
    Prompt {
        /// Tokens of it that were there already, from a request before.
        cached: usize,
        /// For each token of the prompt but the first what the model says of it, where that was asked for.
        logprobs: Vec<Logprobs>,
    },
    /// A new token.
    Piece {
        /// Its id, and the text that became certain with it.
        piece: Piece,
        /// What the model says of it, where that was asked for.
        logprobs: Option<Logprobs>,
    },
    /// The sequence has ended, and its slot is free.
    Finished {
        /// Why.
        finish: Finish,
        /// How long it took.
        times: RequestTimes,
    },
    /// The sequence cannot go on, and its slot is free; others go on.
    Failed(Error),
}

/// How long the parts of a request took, and how much there was to do.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RequestTimes {
    /// From its arrival until it got a slot.
    pub queued: Duration,
    /// From its arrival to its first token, or to its end if it has none.
    pub first_token: Duration,
    /// From its arrival to its end.
    pub total: Duration,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the prompt that were there already.
    pub cached_tokens: usize,
    /// New tokens.
    pub new_tokens: usize,
    /// Tokens that were drafted for it.
    pub drafted: usize,
    /// Drafted tokens that the model would have chosen, too.
    pub accepted: usize,
}

/// Why a scheduler does not take a request.
#[derive(Debug)]
pub enum Refused {
    /// As many requests wait as may.
    Full {
        /// How many that are.
        waiting: usize,
    },
    /// The request makes no sense, or does not fit the context.
    Bad(Error),
}

/// What a slot is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotState {
    /// The request that has it; `None` where it is free.
    pub request: Option<RequestId>,
    /// Tokens in it, of a free slot those that are kept.
    pub tokens: usize,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// New tokens so far.
    pub new_tokens: usize,
}

/// What a scheduler has done since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counters {
    /// Requests that ended.
    pub finished: u64,
    /// Requests that were cancelled.
    pub cancelled: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Tokens of prompts that were processed.
    pub prompt_tokens: u64,
    /// Tokens of prompts that were there already.
    pub cached_tokens: u64,
    /// New tokens.
    pub new_tokens: u64,
    /// Tokens that were drafted.
    pub drafted: u64,
    /// Drafted tokens that were right.
    pub accepted: u64,
    /// Steps over the weights.
    pub steps: u64,
}
