//! `/tokenize` and `/detokenize`, as llama-server has them.

use super::app::App;
use super::error::Answered;
use super::facts::Facts;
use super::fields::{self, Fields};
use super::{body, choice, limits};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The ids of `content`, with their texts if `with_pieces`.
pub(super) async fn tokenize(State(app): State<Arc<App>>, body: Body) -> Answered<Json<Value>> {
    answer(app, body, |facts, object| {
        let fields = Fields::new(object);
        let content = fields.string("content")?;
        let content = content.ok_or_else(|| fields.wrong("content", "is missing; give a text"))?;
        if content.len() > limits::TEXT {
            let what = format!("has {} bytes; give at most {}", content.len(), limits::TEXT);
            return Err(fields.wrong("content", what));
        }
        let special = fields.boolean("add_special")?.unwrap_or(false);
        let ids = facts.tokens(content, special)?;
        if !fields.boolean("with_pieces")?.unwrap_or(false) {
            return Ok(json!({"tokens": ids}));
        }
        let pieces = ids.iter().map(|&id| {
            let written = facts.pieces.written(id).map_err(choice::failed)?;
            // bytes where they are no text
            let piece = match std::str::from_utf8(&written.bytes) {
                Ok(text) => json!(text),
                Err(_) => json!(written.bytes),
            };
            Ok(json!({"id": id, "piece": piece}))
        });
        Ok(json!({"tokens": pieces.collect::<Answered<Vec<_>>>()?}))
    })
    .await
}

/// The text of `tokens`.
pub(super) async fn detokenize(State(app): State<Arc<App>>, body: Body) -> Answered<Json<Value>> {
    answer(app, body, |facts, object| {
        let fields = Fields::new(object);
        let tokens = fields.list("tokens")?;
        let tokens = tokens.ok_or_else(|| fields.wrong("tokens", "is missing; give token ids"))?;
        if tokens.len() > limits::TOKENS {
            let what = format!("has {} ids; give at most {}", tokens.len(), limits::TOKENS);
            return Err(fields.wrong("tokens", what));
        }
        let ids = fields::ids("tokens", tokens, facts.bounds.vocab)?;
        Ok(json!({"content": facts.decode(&ids)?}))
    })
    .await
}

/// Answers a request that needs nothing but its body and the tokenizer.
pub(super) async fn answer(
    app: Arc<App>,
    body: Body,
    f: impl FnOnce(&Facts, &Map<String, Value>) -> Answered<Value> + Send + 'static,
) -> Answered<Json<Value>> {
    let body = body::read(&app, body).await?;
    let facts = app.ready()?;
    let object = move || f(&facts, &fields::parse(&body.bytes)?);
    app.compute(object).await.map(Json)
}
