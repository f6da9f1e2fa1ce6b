//! What the engine's thread does.

use super::{Build, Command, Engine, Job, Update};
use crate::cli::out;
use crate::cli::serve::app::App;
use crate::cli::serve::error::ApiError;
use crate::cli::serve::limits;
use crate::error::{Error, Result};
use crate::generate::scheduler::{Event, RequestId};
use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

/// Makes an engine and serves with it until nobody can ask any more. When its device is lost, all requests end, and another
/// engine is made.
///
/// # Errors
/// Those of making an engine, of the device where it is lost again soon after, and results that do not agree with the
/// reference.
pub(in crate::cli::serve) fn run(
    mut build: impl Build,
    app: &App,
    commands: UnboundedReceiver<Command>,
) -> Result<()> {
    let mut work = Work {
        app,
        commands,
        routes: HashMap::new(),
        tickets: HashMap::new(),
    };
    let mut losses = 0;
    loop {
        let mut ready: Option<Instant> = None;
        let served = caught(|| {
            build.build(&mut |facts, engine| {
                app.set_ready(facts);
                ready = Some(Instant::now());
                work.serve(engine)
            })
        });
        let Err(error) = served else {
            return Ok(());
        };
        app.set_lost();
        work.fail_all(&error);
        let again = losses > 0 && ready.is_none_or(|ready| ready.elapsed() < limits::AGAIN);
        if ready.is_none() || again || matches!(error, Error::Disagree(_)) {
            return Err(error);
        }
        losses += 1;
        app.metrics.rebuilds.inc();
        let error = out::one_line(&error.to_string());
        tracing::error!(%error, "the engine failed; it is made anew");
    }
}

/// What `f` returns; a panic becomes an error of the device, since nothing on it can be relied on any more.
fn caught(f: impl FnOnce() -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        let what = format!("the engine stopped: {}", message(&*payload));
        Err(Error::device(what, "please report this as a bug"))
    })
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("no message")
}

/// Where the events of a request go.
struct Route {
    ticket: u64,
    index: usize,
    updates: UnboundedSender<Update>,
    /// When its client asked, and then when its last token came.
    last: Instant,
    /// Whether it has a token.
    begun: bool,
}

struct Work<'a> {
    app: &'a App,
    commands: UnboundedReceiver<Command>,
    routes: HashMap<RequestId, Route>,
    tickets: HashMap<u64, RequestId>,
}

impl Work<'_> {
    /// Serves until all senders of commands are gone.
    fn serve(&mut self, engine: &mut dyn Engine) -> Result<()> {
        let mut events = Vec::new();
        loop {
            self.app.set_status(engine.status());
            if engine.is_idle() {
                match self.commands.blocking_recv() {
                    Some(command) => self.obey(engine, command),
                    None => return Ok(()),
                }
            }
            loop {
                match self.commands.try_recv() {
                    Ok(command) => self.obey(engine, command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            if !engine.is_idle() {
                engine.step(&mut events)?;
                for (id, event) in events.drain(..) {
                    self.pass_on(engine, id, event);
                }
            }
        }
    }

    fn obey(&mut self, engine: &mut dyn Engine, command: Command) {
        match command {
            Command::Cancel(ticket) => {
                if let Some(id) = self.tickets.remove(&ticket) {
                    self.routes.remove(&id);
                    engine.cancel(id);
                }
            }
            Command::Submit {
                jobs,
                updates,
                arrived,
            } => {
                if let Err(error) = self.submit(engine, jobs, &updates, arrived) {
                    let _ = updates.send(Update::Failed(error));
                }
            }
        }
    }

    /// Gives all jobs of an answer to the engine, or none.
    fn submit(
        &mut self,
        engine: &mut dyn Engine,
        jobs: Vec<Job>,
        updates: &UnboundedSender<Update>,
        arrived: Instant,
    ) -> Result<(), ApiError> {
        if updates.is_closed() {
            return Ok(()); // its client has gone while it was on its way
        }
        let mut taken = Vec::with_capacity(jobs.len());
        for job in jobs {
            match engine.submit(job.request) {
                Ok(id) => taken.push((id, job.ticket)),
                Err(refused) => {
                    taken.iter().for_each(|(id, _)| engine.cancel(*id));
                    return Err(ApiError::refused(&refused));
                }
            }
        }
        for (index, (id, ticket)) in taken.into_iter().enumerate() {
            let route = Route {
                ticket,
                index,
                updates: updates.clone(),
                last: arrived,
                begun: false,
            };
            self.routes.insert(id, route);
            self.tickets.insert(ticket, id);
        }
        let _ = updates.send(Update::Taken);
        Ok(())
    }

    /// Hands an event to the task of its client. Where that has gone, the request ends.
    fn pass_on(&mut self, engine: &mut dyn Engine, id: RequestId, event: Event) {
        let Some(route) = self.routes.get_mut(&id) else {
            return;
        };
        if let Event::Piece { .. } = event {
            let now = Instant::now();
            let times = match std::mem::replace(&mut route.begun, true) {
                true => &self.app.metrics.between_tokens,
                false => &self.app.metrics.first_token,
            };
            times.observe((now - route.last).as_secs_f64());
            route.last = now;
        }
        let ends = matches!(event, Event::Finished { .. } | Event::Failed(_));
        let ticket = route.ticket;
        let gone = route
            .updates
            .send(Update::Event(route.index, event))
            .is_err();
        if ends || gone {
            self.routes.remove(&id);
            self.tickets.remove(&ticket);
        }
        if gone && !ends {
            engine.cancel(id);
        }
    }

    /// Ends all requests, also those that are on their way.
    fn fail_all(&mut self, error: &Error) {
        let error = ApiError::unavailable(out::one_line(&error.to_string()));
        self.tickets.clear();
        for (_, route) in self.routes.drain() {
            let _ = route.updates.send(Update::Failed(error.clone()));
        }
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Submit { updates, .. } = command {
                let _ = updates.send(Update::Failed(error.clone()));
            }
        }
    }
}
