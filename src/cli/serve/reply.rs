//! An answer on its way to its client: whole, or as a stream of server-sent events.

use super::engine::Answers;
use super::error::{Answered, ApiError};
use super::limits;
use super::trace::Trace;
use crate::generate::scheduler::Event;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde_json::Value;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep, sleep};

/// How an endpoint words its answers.
pub(super) trait Wording: Send + Unpin + 'static {
    /// The chunks that a stream begins with.
    fn first(&mut self) -> Vec<Value>;
    /// The chunk that an event of a choice is, if any.
    fn chunk(&mut self, choice: usize, event: Event) -> Answered<Option<Value>>;
    /// The chunk that a stream ends with, if any.
    fn last(&mut self) -> Option<Value>;
    /// Takes an event of a choice of a whole answer.
    fn add(&mut self, choice: usize, event: Event) -> Answered<()>;
    /// The whole answer.
    fn whole(self) -> Value;
}

/// The whole answer, once all choices have ended.
pub(super) async fn whole(mut answers: Answers, mut wording: impl Wording) -> Answered<Response> {
    while let Some(event) = answers.next().await {
        let (choice, event) = event?;
        wording.add(choice, event)?;
    }
    Ok(axum::Json(wording.whole()).into_response())
}

/// The answer as a stream whose events leave as they come.
pub(super) fn stream(answers: Answers, wording: impl Wording, trace: Arc<Trace>) -> Response {
    let mut events = Events {
        answers: Some(answers),
        wording,
        trace,
        ready: VecDeque::new(),
        silence: Box::pin(sleep(limits::SILENCE)),
    };
    events.ready.extend(events.wording.first().iter().map(data));
    let mut response = Body::new(events).into_response();
    let headers = response.headers_mut();
    let fixed = HeaderValue::from_static;
    headers.insert(header::CONTENT_TYPE, fixed("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, fixed("no-cache"));
    // nginx would hold the events back until there are many
    headers.insert("x-accel-buffering", fixed("no"));
    response
}

/// `data: {...}`.
fn data(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

/// The body of a stream. When its connection drops it, the sequences that still run are cancelled.
struct Events<W> {
    /// `None` when there is no more to come.
    answers: Option<Answers>,
    wording: W,
    trace: Arc<Trace>,
    ready: VecDeque<Bytes>,
    silence: Pin<Box<Sleep>>,
}

impl<W: Wording> Events<W> {
    /// Takes in what comes next.
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(answers) = &mut self.answers else {
            return Poll::Ready(());
        };
        let next = std::task::ready!(answers.poll_next(context));
        let chunk = match next {
            Some(event) => event.and_then(|(choice, event)| self.wording.chunk(choice, event)),
            None => {
                self.ready.extend(self.wording.last().iter().map(data));
                self.ready
                    .push_back(Bytes::from_static(b"data: [DONE]\n\n"));
                self.answers = None;
                Ok(None)
            }
        };
        match chunk {
            Ok(chunk) => self.ready.extend(chunk.iter().map(data)),
            Err(error) => self.fail(&error),
        }
        Poll::Ready(())
    }

    /// Ends the stream with an error.
    fn fail(&mut self, error: &ApiError) {
        self.trace.failed();
        self.ready.push_back(data(&error.json()));
        self.answers = None; // cancels what still runs
    }
}

impl<W: Wording> HttpBody for Events<W> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        loop {
            if let Some(bytes) = this.ready.pop_front() {
                let silent = Instant::now() + limits::SILENCE;
                this.silence.as_mut().reset(silent);
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if this.answers.is_none() {
                return Poll::Ready(None);
            }
            if this.poll_event(context).is_ready() {
                continue;
            }
            if this.silence.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            this.ready
                .push_back(Bytes::from_static(b": still here\n\n"));
        }
    }
}
