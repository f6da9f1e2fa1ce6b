//! What all tasks of the server share.

use super::engine::{Command, Status};
use super::error::{Answered, ApiError};
use super::facts::Facts;
use super::limits;
use super::metrics::Metrics;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Semaphore, watch};

/// Whether requests are answered.
#[derive(Clone)]
pub(super) enum Phase {
    /// The model is being loaded.
    Loading,
    /// They are, by this model.
    Ready(Arc<Facts>),
    /// The device was lost, and the model is being loaded again.
    Lost,
}

/// How the server treats its clients.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// The keys of which one must come with a request; with none, anybody is served.
    pub keys: Vec<String>,
    /// The origins whose pages may ask; `*` is all of them.
    pub origins: Vec<String>,
    /// How long a client may take for the headers of a request, for its body, and for taking what it is sent.
    pub patience: Duration,
    /// How long running answers may go on when the server stops.
    pub grace: Duration,
    /// Connections at once.
    pub connections: usize,
}

/// What all tasks of the server share.
pub(super) struct App {
    pub settings: Settings,
    pub metrics: Metrics,
    phase: watch::Sender<Phase>,
    status: Mutex<Status>,
    /// `None` when no more requests are taken.
    commands: Mutex<Option<UnboundedSender<Command>>>,
    tickets: AtomicU64,
    /// Whether answers have to end because the server does.
    abort: watch::Sender<bool>,
    tasks: Semaphore,
    /// A permit for each large body in memory.
    pub bodies: Arc<Semaphore>,
}

impl App {
    /// A server whose engine listens to `commands`.
    pub(super) fn new(settings: Settings, commands: UnboundedSender<Command>) -> Self {
        Self {
            settings,
            metrics: Metrics::new(),
            phase: watch::Sender::new(Phase::Loading),
            status: Mutex::default(),
            commands: Mutex::new(Some(commands)),
            tickets: AtomicU64::new(0),
            abort: watch::Sender::new(false),
            tasks: Semaphore::new(limits::TASKS),
            bodies: Arc::new(Semaphore::new(limits::LARGE_BODIES)),
        }
    }

    /// What is known of the model, if requests are answered.
    ///
    /// # Errors
    /// 503.
    pub(super) fn ready(&self) -> Answered<Arc<Facts>> {
        match &*self.phase.borrow() {
            Phase::Ready(facts) => Ok(facts.clone()),
            Phase::Loading => Err(ApiError::unavailable(
                "the model is being loaded; ask again later",
            )),
            Phase::Lost => Err(ApiError::unavailable(
                "the device was lost and the model is being loaded again; ask again later",
            )),
        }
    }

    pub(super) fn set_ready(&self, facts: Facts) {
        self.phase.send_replace(Phase::Ready(Arc::new(facts)));
    }

    pub(super) fn set_lost(&self) {
        self.set_status(Status::default());
        self.phase.send_replace(Phase::Lost);
    }

    /// Waits until requests are answered.
    pub(super) async fn until_ready(&self) {
        let mut phase = self.phase.subscribe();
        let ready = |phase: &Phase| matches!(phase, Phase::Ready(_));
        let _ = phase.wait_for(ready).await; // the sender is here
    }

    /// How the engine stood after its last step.
    pub(super) fn status(&self) -> Status {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.clone()
    }

    pub(super) fn set_status(&self, status: Status) {
        let mut before = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        self.metrics.follow(&before, &status);
        *before = status;
    }

    /// A name for a request that no other has.
    pub(super) fn ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// Where the engine is told what to do.
    ///
    /// # Errors
    /// 503 when no more requests are taken.
    pub(super) fn commands(&self) -> Answered<UnboundedSender<Command>> {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands
            .clone()
            .ok_or_else(|| ApiError::unavailable("the server stops; ask it again later"))
    }

    /// Takes no more requests: the engine ends when all answers have.
    pub(super) fn close(&self) {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.take();
    }

    /// Ends the answers that still run.
    pub(super) fn abort(&self) {
        self.abort.send_replace(true);
    }

    /// Waits until answers have to end.
    pub(super) fn aborted(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut abort = self.abort.subscribe();
        async move {
            if abort.wait_for(|abort| *abort).await.is_err() {
                std::future::pending().await // the server has gone, and this task is about to
            }
        }
    }

    /// Runs what takes a processor for a while, beside the tasks that wait for clients.
    ///
    /// # Errors
    /// Those of `f`, and 500 where it panics.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> Answered<T> + Send + 'static,
    ) -> Answered<T> {
        let _permit = self.tasks.acquire().await;
        let done = tokio::task::spawn_blocking(f).await;
        done.unwrap_or_else(|_| Err(ApiError::internal("the request made the server stumble")))
    }
}
