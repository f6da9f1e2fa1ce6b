//! `/health`, `/metrics`, `/props` and `/slots`.

use super::app::App;
use super::error::Answered;
use super::metrics;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use std::sync::Arc;

/// Whether requests are answered: 200, or 503.
pub(super) async fn health(State(app): State<Arc<App>>) -> Answered<Json<Value>> {
    app.ready()?;
    Ok(Json(json!({"status": "ok"})))
}

/// Counters and times for Prometheus.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
    (kind, app.metrics.text())
}

/// What is served, and how.
pub(super) async fn props(State(app): State<Arc<App>>) -> Answered<Json<Value>> {
    let facts = app.ready()?;
    let token = |id: Option<u32>| {
        id.and_then(|id| facts.tokenizer.token(id))
            .unwrap_or_default()
    };
    Ok(Json(json!({
        "default_generation_settings": {
            "n_ctx": facts.bounds.context,
            "params": {
                "temperature": 1.0,
                "top_k": 0,
                "top_p": 1.0,
                "min_p": 0.0,
                "repeat_penalty": 1.0,
                "presence_penalty": 0.0,
                "frequency_penalty": 0.0,
                "stop": [],
                "stream": false,
            },
        },
        "total_slots": app.status().slots.len(),
        "model_alias": facts.id,
        "quantization": facts.recipe,
        "device": facts.device,
        "bos_token": token(facts.tokenizer.bos()),
        "eos_token": token(facts.eos.first().copied()),
        "build_info": concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")),
    })))
}

/// What each slot does.
pub(super) async fn slots(State(app): State<Arc<App>>) -> Answered<Json<Value>> {
    let facts = app.ready()?;
    let slots = app.status().slots.into_iter().enumerate();
    let slots = slots.map(|(id, slot)| {
        json!({
            "id": id,
            "id_task": slot.request.map(|request| request.0),
            "n_ctx": facts.bounds.context,
            "is_processing": slot.request.is_some(),
            "n_tokens": slot.tokens,
            "n_prompt_tokens": slot.prompt_tokens,
            "n_decoded": slot.new_tokens,
        })
    });
    Ok(Json(slots.collect()))
}
