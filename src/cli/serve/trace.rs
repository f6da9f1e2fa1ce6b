//! One line in the log for each request, with its times, and what `/metrics` counts of it.

use super::app::App;
use super::connection::Busy;
use super::metrics::Answer;
use crate::files::show;
use crate::generate::scheduler::Event;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Method, StatusCode};
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// What is noted about a request while it is answered.
pub(super) struct Trace {
    /// Its name in the log and in the answer.
    pub id: String,
    pub arrived: Instant,
    notes: Mutex<Notes>,
}

#[derive(Default, Clone, Copy)]
struct Notes {
    choices: usize,
    prompt: usize,
    cached: usize,
    new: usize,
    queued: Option<Duration>,
    first: Option<Duration>,
    failed: bool,
}

impl Trace {
    pub(super) fn new(id: String) -> Self {
        Self {
            id,
            arrived: Instant::now(),
            notes: Mutex::default(),
        }
    }

    fn note(&self, change: impl FnOnce(&mut Notes)) {
        change(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes what was asked for: choices, and tokens of their prompts.
    pub(super) fn asked(&self, choices: usize, prompt: usize) {
        self.note(|notes| (notes.choices, notes.prompt) = (choices, prompt));
    }

    /// Notes that the answer ended before its time.
    pub(super) fn failed(&self) {
        self.note(|notes| notes.failed = true);
    }

    /// Notes what became of a choice.
    pub(super) fn event(&self, _: usize, event: &Event) {
        self.note(|notes| match event {
            Event::Prompt { cached, .. } => notes.cached += cached,
            Event::Piece { .. } => {
                notes.new += 1;
                notes.first.get_or_insert_with(|| self.arrived.elapsed());
            }
            Event::Finished { times, .. } => {
                notes.queued = notes.queued.max(Some(times.queued));
            }
            Event::Failed(_) => notes.failed = true,
        });
    }
}

/// Writes the line of a request when its answer has been sent, or its client has left.
pub(super) struct Line {
    pub app: Arc<App>,
    pub trace: Arc<Trace>,
    pub method: Method,
    /// The path as it was asked for.
    pub path: String,
    /// The path as it is counted: one of those that there are.
    pub route: &'static str,
    /// `None` while there is none.
    pub status: Option<StatusCode>,
    /// Whether the whole answer has been handed to the connection.
    pub complete: bool,
    /// Says that the connection has a request.
    #[allow(dead_code)] // what counts is when it is dropped
    pub busy: Option<Arc<Busy>>,
}

impl Drop for Line {
    fn drop(&mut self) {
        let notes = *self
            .trace
            .notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let total = self.trace.arrived.elapsed();
        // as nginx has it for a client that left before there was an answer
        let status = self.status.map_or(499, |status| status.as_u16());
        let answer = Answer {
            path: self.route,
            status,
        };
        self.app.metrics.count(&answer);
        self.app.metrics.seconds.observe(total.as_secs_f64());
        let outcome = match (self.complete, notes.failed) {
            (_, true) => "failed",
            (true, _) => "complete",
            (false, _) => "left",
        };
        let ms = |time: Option<Duration>| time.map(|t| t.as_millis() as u64);
        let (id, method, path) = (&self.trace.id, &self.method, show(&self.path));
        let total = ms(Some(total));
        if notes.choices == 0 {
            tracing::info!(%id, %method, %path, status, outcome, total_ms = total, "request");
            return;
        }
        tracing::info!(
            %id, %method, %path, status, outcome,
            choices = notes.choices,
            prompt = notes.prompt,
            cached = notes.cached,
            new = notes.new,
            queued_ms = ms(notes.queued),
            first_ms = ms(notes.first),
            total_ms = total,
            "request"
        );
    }
}

/// The body of an answer, with the line that is written when it has been sent.
pub(super) struct Traced {
    pub body: Body,
    pub line: Line,
}

impl HttpBody for Traced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        // of a body whose length is known nobody asks for a frame behind the last one
        self.line.complete = match &frame {
            None => true,
            Some(Ok(_)) => self.body.is_end_stream(),
            Some(Err(_)) => false,
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
