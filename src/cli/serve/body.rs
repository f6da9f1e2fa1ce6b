//! Bodies of requests: of bounded length, in bounded time.

use super::app::App;
use super::error::{Answered, ApiError};
use super::limits;
use axum::body::{Body, HttpBody};
use std::future::poll_fn;
use std::pin::pin;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// A body, and its place among the large ones.
pub(super) struct Read {
    pub bytes: Vec<u8>,
    _place: Option<OwnedSemaphorePermit>,
}

/// The whole body.
///
/// # Errors
/// 408 for one that does not come in time, 413 for one that is too long, 400 for one that breaks off.
pub(super) async fn read(app: &App, body: Body) -> Answered<Read> {
    let read = timeout(app.settings.patience, collect(app, body)).await;
    read.unwrap_or_else(|_| Err(ApiError::slow()))
}

/// What is too long is read on for a while, since most clients see the answer only when they have sent everything.
async fn collect(app: &App, body: Body) -> Answered<Read> {
    let stated = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if stated > limits::REFUSED_BODY {
        return Err(ApiError::large());
    }
    let mut body = pin!(body);
    let (mut bytes, mut place) = (Vec::new(), None);
    let mut length = 0;
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        let frame = frame.map_err(|_| ApiError::bad("the body breaks off; send all of it"))?;
        let Ok(data) = frame.into_data() else {
            continue; // trailers
        };
        length += data.len();
        let most = length.max(stated);
        if length > limits::REFUSED_BODY {
            return Err(ApiError::large());
        } else if most > limits::BODY {
            bytes = Vec::new();
            continue;
        } else if most > limits::SMALL_BODY && place.is_none() {
            place = app.bodies.clone().acquire_owned().await.ok();
        }
        bytes.extend_from_slice(&data);
    }
    match length.max(stated) > limits::BODY {
        true => Err(ApiError::large()),
        false => Ok(Read {
            bytes,
            _place: place,
        }),
    }
}
