//! The answer to one client as it comes: the events of all its choices.

use super::{Command, Job, Update};
use crate::cli::serve::app::App;
use crate::cli::serve::error::{Answered, ApiError};
use crate::cli::serve::trace::Trace;
use crate::generate::scheduler::{Event, Request};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// The events of the choices of one answer. Who drops it before all of them have ended cancels the others.
pub(in crate::cli::serve) struct Answers {
    updates: UnboundedReceiver<Update>,
    commands: UnboundedSender<Command>,
    /// The tickets of choices that have not ended.
    running: Vec<Option<u64>>,
    /// Ready when answers have to end because the server does.
    aborted: Pin<Box<dyn Future<Output = ()> + Send>>,
    trace: Arc<Trace>,
}

impl Answers {
    /// Asks the engine for an answer with these choices, and waits until it takes them.
    ///
    /// # Errors
    /// Why it does not.
    pub(in crate::cli::serve) async fn ask(
        app: &Arc<App>,
        trace: &Arc<Trace>,
        requests: Vec<Request>,
    ) -> Answered<Self> {
        let (sender, updates) = mpsc::unbounded_channel();
        let jobs: Vec<_> = requests
            .into_iter()
            .map(|request| Job {
                ticket: app.ticket(),
                request,
            })
            .collect();
        let mut answers = Self {
            updates,
            commands: app.commands()?,
            running: jobs.iter().map(|job| Some(job.ticket)).collect(),
            aborted: Box::pin(app.aborted()),
            trace: trace.clone(),
        };
        let submit = Command::Submit {
            jobs,
            updates: sender,
            arrived: trace.arrived,
        };
        answers.commands.send(submit).map_err(|_| gone())?;
        let taken = std::future::poll_fn(|context| answers.poll_update(context)).await?;
        debug_assert!(matches!(taken, Update::Taken));
        Ok(answers)
    }

    /// Whether all choices have ended.
    pub(in crate::cli::serve) fn ended(&self) -> bool {
        self.running.iter().all(Option::is_none)
    }

    /// The next event of any choice, with the number of that choice; `None` when all have ended.
    ///
    /// # Errors
    /// Why the answer ends before its time.
    pub(in crate::cli::serve) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Answered<(usize, Event)>>> {
        loop {
            if self.ended() {
                return Poll::Ready(None);
            }
            let update = match std::task::ready!(self.poll_update(context)) {
                Ok(update) => update,
                Err(error) => return Poll::Ready(Some(Err(error))),
            };
            let Update::Event(index, event) = update else {
                continue;
            };
            self.trace.event(index, &event);
            let ends = matches!(event, Event::Finished { .. } | Event::Failed(_));
            if let (true, Some(ticket)) = (ends, self.running.get_mut(index)) {
                *ticket = None;
            }
            return Poll::Ready(Some(match event {
                Event::Failed(error) => Err(ApiError::library(&error, "prompt")),
                event => Ok((index, event)),
            }));
        }
    }

    /// [`Answers::poll_next`] to wait for.
    pub(in crate::cli::serve) async fn next(&mut self) -> Option<Answered<(usize, Event)>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_update(&mut self, context: &mut Context<'_>) -> Poll<Answered<Update>> {
        if let Poll::Ready(update) = self.updates.poll_recv(context) {
            return Poll::Ready(match update {
                Some(Update::Failed(error)) => {
                    self.running.fill(None); // the engine has ended them
                    Err(error)
                }
                Some(update) => Ok(update),
                None => Err(gone()),
            });
        }
        self.aborted.as_mut().poll(context).map(|()| {
            Err(ApiError::unavailable(
                "the server stops; ask it again later",
            ))
        })
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        for ticket in self.running.iter().flatten() {
            let _ = self.commands.send(Command::Cancel(*ticket)); // the engine may have gone, and the request with it
        }
    }
}

fn gone() -> ApiError {
    ApiError::unavailable("the server has stopped; ask it again later")
}
