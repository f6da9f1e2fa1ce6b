//! Connections: how many, how long, and which one goes where there are too many.

use super::app::App;
use super::limits;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::HashMap;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, Sleep, sleep};
use tower::ServiceExt;

/// What others know of a connection.
struct Peer {
    /// Since when it has had no request; `None` while it has one.
    idle: Mutex<Option<Instant>>,
    close: Notify,
}

impl Peer {
    fn idle(&self) -> Option<Instant> {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_idle(&self, since: Option<Instant>) {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// A request that is being answered: whoever holds the last of these says that it has been.
pub(super) struct Busy(Arc<Peer>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set_idle(Some(Instant::now()));
    }
}

/// The connections there are.
#[derive(Default)]
pub(super) struct Connections {
    peers: Mutex<(u64, HashMap<u64, Arc<Peer>>)>,
}

impl Connections {
    /// Closes the connection that has been without a request for longest, if there is such a one.
    pub(super) fn close_idlest(&self) {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = peers
            .1
            .values()
            .filter_map(|peer| Some((peer.idle()?, peer)));
        if let Some((_, peer)) = idle.min_by_key(|(since, _)| *since) {
            peer.close.notify_one();
        }
    }

    /// Counts a connection among them.
    pub(super) fn enter(self: &Arc<Self>) -> Entered {
        let peer = Arc::new(Peer {
            idle: Mutex::new(Some(Instant::now())),
            close: Notify::new(),
        });
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let number = peers.0;
        peers.0 += 1;
        peers.1.insert(number, peer.clone());
        Entered {
            all: self.clone(),
            number,
            peer,
        }
    }
}

/// A connection among the others, for as long as it is there.
pub(super) struct Entered {
    all: Arc<Connections>,
    number: u64,
    peer: Arc<Peer>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut peers = self
            .all
            .peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        peers.1.remove(&self.number);
    }
}

/// Serves one connection until it ends, is idle when it has to go, or the server stops and its answer has been sent.
pub(super) async fn serve(
    stream: TcpStream,
    app: Arc<App>,
    routes: Router,
    entered: Entered,
    mut stop: watch::Receiver<bool>,
) {
    let peer = entered.peer.clone();
    app.metrics.connections.inc();
    let patience = app.settings.patience;
    let service = service_fn(move |request: Request<Incoming>| {
        peer.set_idle(None);
        let busy = Arc::new(Busy(peer.clone()));
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(busy);
        routes.clone().oneshot(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_headers(limits::HEADERS)
        .max_buf_size(limits::HEAD);
    let stream = TokioIo::new(Patient::new(stream, patience));
    let mut connection = pin!(http.serve_connection(stream, service));
    let mut stopping = false;
    loop {
        tokio::select! {
            _ = connection.as_mut() => break, // how it ended is the client's affair
            () = entered.peer.close.notified() => {
                if entered.peer.idle().is_some() {
                    break;
                }
            }
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                if entered.peer.idle().is_some() {
                    break;
                }
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
    app.metrics.connections.dec();
}

/// A stream whose peer has to take what it is sent: an error where it takes nothing for a while.
struct Patient {
    stream: TcpStream,
    patience: Duration,
    /// When patience ends, while something waits to be taken.
    end: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            end: None,
        }
    }

    /// The result of a write, or an error when it has been waited for too long.
    fn watched<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.end = None;
            return written;
        }
        let patience = self.patience;
        let end = self.end.get_or_insert_with(|| Box::pin(sleep(patience)));
        end.as_mut()
            .poll(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watched(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.watched(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
