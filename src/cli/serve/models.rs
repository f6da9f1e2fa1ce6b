//! `/v1/models`: the one model there is.

use super::app::App;
use super::error::{Answered, ApiError};
use super::facts::Facts;
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use std::sync::Arc;

fn model(facts: &Facts) -> Value {
    json!({
        "id": facts.id,
        "object": "model",
        "created": facts.loaded,
        "owned_by": "fairy2i-gpu",
        "meta": {
            "n_vocab": facts.bounds.vocab,
            "n_ctx": facts.bounds.context,
            "quantization": facts.recipe,
        },
    })
}

/// The list of models.
pub(super) async fn list(State(app): State<Arc<App>>) -> Answered<Json<Value>> {
    let facts = app.ready()?;
    Ok(Json(json!({"object": "list", "data": [model(&facts)]})))
}

/// One of them.
pub(super) async fn one(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Answered<Json<Value>> {
    let facts = app.ready()?;
    match id == facts.id {
        true => Ok(Json(model(&facts))),
        false => Err(ApiError::model(&id)),
    }
}
