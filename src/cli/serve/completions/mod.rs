//! `/v1/completions`.

mod request;
mod wording;

use super::app::App;
use super::choice::{Choice, Echo, Usage};
use super::engine::Answers;
use super::error::Answered;
use super::facts::Facts;
use super::fields;
use super::reply;
use super::trace::Trace;
use crate::generate::Prompt;
use crate::generate::scheduler::Request;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use request::CompletionRequest;
use std::sync::Arc;
use wording::Completion;

/// Answers a request.
pub(super) async fn completions(
    State(app): State<Arc<App>>,
    Extension(trace): Extension<Arc<Trace>>,
    body: Body,
) -> Answered<Response> {
    let body = super::body::read(&app, body).await?;
    let facts = app.ready()?;
    let known = facts.clone();
    let (request, prepared) = app
        .compute(move || {
            let object = fields::parse(&body.bytes)?;
            let request = CompletionRequest::read(&object, &known.bounds)?;
            let prepared = prepare(&known, &request)?;
            Ok((request, prepared))
        })
        .await?;
    let Prepared {
        requests,
        choices,
        prompt,
    } = prepared;
    trace.asked(choices.len(), prompt);
    let answers = Answers::ask(&app, &trace, requests).await?;
    let usage = Usage {
        prompt,
        ..Usage::default()
    };
    let wording = Completion::new(facts, &trace.id, &request, choices, usage);
    match request.common.stream {
        true => Ok(reply::stream(answers, wording, trace)),
        false => reply::whole(answers, wording).await,
    }
}

/// What the engine is asked for, and what becomes of its answers.
struct Prepared {
    requests: Vec<Request>,
    choices: Vec<Choice>,
    /// Tokens of the prompts.
    prompt: usize,
}

fn prepare(facts: &Facts, request: &CompletionRequest) -> Answered<Prepared> {
    let common = &request.common;
    let mut prepared = Prepared {
        requests: Vec::new(),
        choices: Vec::new(),
        prompt: 0,
    };
    for prompt in &request.prompts {
        let ids = facts.encode(prompt.clone())?;
        let max_tokens = request.new_tokens(ids.len(), facts.bounds.context)?;
        prepared.prompt += ids.len();
        let echo = match request.echo {
            true => Some(echo(facts, prompt, &ids)?),
            false => None,
        };
        let first = Request {
            prompt_logprobs: request.echo && request.logprobs.is_some(),
            logprobs: request.logprobs,
            ..common.request(ids, max_tokens)
        };
        prepared.requests.extend(common.choices(first));
        let choice = Choice {
            echo,
            logprobs: request.logprobs.is_some(),
            ..Choice::default()
        };
        prepared
            .choices
            .extend(std::iter::repeat_n(choice, common.n));
    }
    Ok(prepared)
}

/// A prompt as its answer begins with it: as it was written, or what its ids are as a text.
fn echo(facts: &Facts, prompt: &Prompt, ids: &[u32]) -> Answered<Echo> {
    let text = match prompt {
        Prompt::Text(text) => text.clone(),
        Prompt::Ids(ids) => facts.decode(ids)?,
    };
    let ids = ids.to_vec();
    Ok(Echo { ids, text })
}
