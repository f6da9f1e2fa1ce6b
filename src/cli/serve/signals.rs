//! When the server is told to stop.

/// Waits until the process is told to stop; the next time ends it at once.
pub(super) async fn stop() {
    let first = told().await;
    tracing::info!(
        signal = first.name,
        "the server stops when running answers have ended"
    );
    tokio::spawn(async {
        let second = told().await;
        std::process::exit(second.code);
    });
}

/// A signal, and the exit code of a process that it ends.
struct Signal {
    name: &'static str,
    code: i32,
}

const INTERRUPT: Signal = Signal {
    name: "SIGINT",
    code: 130,
};

#[cfg(unix)]
async fn told() -> Signal {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupt = signal(SignalKind::interrupt());
    let terminate = signal(SignalKind::terminate());
    let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
        return std::future::pending().await; // the system's own way of ending a process is left
    };
    tokio::select! {
        _ = interrupt.recv() => INTERRUPT,
        _ = terminate.recv() => Signal { name: "SIGTERM", code: 143 },
    }
}

#[cfg(not(unix))]
async fn told() -> Signal {
    match tokio::signal::ctrl_c().await {
        Ok(()) => INTERRUPT,
        Err(_) => std::future::pending().await,
    }
}
