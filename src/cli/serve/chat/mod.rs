//! `/v1/chat/completions`, and what its template makes of messages: `/apply-template`.

mod messages;
mod request;
mod wording;

use super::app::App;
use super::choice::Choice;
use super::engine::Answers;
use super::error::{Answered, ApiError};
use super::facts::{self, Facts};
use super::fields::{self, Fields};
use super::trace::Trace;
use super::{common, limits, reply, tokens};
use crate::files::chat_template::Moment;
use crate::generate::Grammar;
use crate::generate::scheduler::Request;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Json};
use request::{ChatRequest, Format};
use serde_json::{Value, json};
use std::sync::Arc;
use wording::Chat;

/// Answers a chat.
pub(super) async fn chat(
    State(app): State<Arc<App>>,
    Extension(trace): Extension<Arc<Trace>>,
    body: Body,
) -> Answered<Response> {
    let body = super::body::read(&app, body).await?;
    let facts = app.ready()?;
    let known = facts.clone();
    let (request, requests) = app
        .compute(move || {
            let object = fields::parse(&body.bytes)?;
            let request = ChatRequest::read(&object, &known.bounds)?;
            if body.bytes.len() > limits::BEGINNING {
                let text = known.template.render(&request.input);
                let text = text.map_err(|error| ApiError::library(&error, "messages"))?;
                known.refuse_long(&text, "messages")?;
            }
            let requests = prepare(&known, &request)?;
            Ok((request, requests))
        })
        .await?;
    let prompt = requests.first().map_or(0, |request| request.prompt.len());
    trace.asked(requests.len(), prompt);
    let choice = Choice {
        logprobs: request.logprobs.is_some(),
        ..Choice::default()
    };
    let choices = vec![choice; requests.len()];
    let answers = Answers::ask(&app, &trace, requests).await?;
    let usage = request.common.include_usage;
    let wording = Chat::new(facts, &trace.id, usage, choices, prompt);
    match request.common.stream {
        true => Ok(reply::stream(answers, wording, trace)),
        false => reply::whole(answers, wording).await,
    }
}

/// What the engine is asked for: a choice each.
fn prepare(facts: &Facts, request: &ChatRequest) -> Answered<Vec<Request>> {
    let encoded = facts.template.encode(&facts.tokenizer, &request.input);
    let mut ids = encoded.map_err(|error| ApiError::library(&error, "messages"))?;
    if ids.is_empty() {
        ids = facts.encode(String::new().into())?;
    }
    let common = &request.common;
    let max_tokens = common::new_tokens(ids.len(), common.max_tokens, None, facts.bounds.context)?;
    let mut first = common.request(ids, max_tokens);
    first.logprobs = request.logprobs;
    first.stop.extend(facts.template.stops());
    first.end_tokens = facts.turn_ends.clone();
    first.grammar = grammar(facts, &request.format)?;
    Ok(common.choices(first).collect())
}

/// What holds an answer to its form.
fn grammar(facts: &Facts, format: &Format) -> Answered<Option<Grammar>> {
    let made = match format {
        Format::Text => return Ok(None),
        Format::JsonObject => Grammar::json_object(facts.vocabulary()?),
        Format::JsonSchema(schema) => Grammar::json_schema(facts.vocabulary()?, schema),
    };
    let made = made.map_err(|error| ApiError::library(&error, "response_format"))?;
    Ok(Some(made))
}

/// The text that the template makes of messages.
pub(super) async fn apply_template(
    State(app): State<Arc<App>>,
    body: Body,
) -> Answered<Json<Value>> {
    tokens::answer(app, body, |facts, object| {
        let input = request::input(&Fields::new(object))?;
        let text = facts.template.render(&input);
        let text = text.map_err(|error| ApiError::library(&error, "messages"))?;
        Ok(json!({"prompt": text}))
    })
    .await
}

/// The time that templates show.
fn now() -> Moment {
    Moment::from_seconds(i64::try_from(facts::now()).unwrap_or(i64::MAX))
}
