//! The server with an engine that does as a test says: what a real device does only when it breaks.

mod fake;
mod losses;
mod waiting;

use super::app::{App, Settings};
use super::engine;
use super::server;
use crate::error::Result;
use fake::{Script, Scripted};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server in this process.
struct Running {
    address: SocketAddr,
    app: Arc<App>,
    /// What became of the engine.
    end: Receiver<Result<()>>,
    stop: Option<oneshot::Sender<()>>,
    server: Option<std::thread::JoinHandle<()>>,
}

fn settings() -> Settings {
    Settings {
        keys: Vec::new(),
        origins: Vec::new(),
        patience: Duration::from_secs(10),
        grace: Duration::from_secs(10),
        connections: 64,
    }
}

impl Running {
    fn start(script: &Script, settings: Settings) -> Self {
        let (commands, told) = mpsc::unbounded_channel();
        let app = Arc::new(App::new(settings, commands));
        let (ended, end) = channel();
        let (build, shared) = (Scripted(script.clone()), app.clone());
        std::thread::spawn(move || ended.send(engine::run(build, &shared, told)));
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, address) = channel();
        let served = app.clone();
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                    .await
                    .expect("a port");
                bound
                    .send(listener.local_addr().expect("an address"))
                    .expect("it waits");
                let stop = async { stopped.await.unwrap_or_default() };
                server::serve(listener, served, stop).await;
            });
        });
        Self {
            address: address.recv().expect("an address"),
            app,
            end,
            stop: Some(stop),
            server: Some(server),
        }
    }

    /// Sends a request; the rest of the connection is its answer.
    fn send(&self, method: &str, path: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all((head + body).as_bytes()).expect("written");
        stream
    }

    /// The status and the body of an answer.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        answer(self.send(method, path, body))
    }

    fn complete(&self) -> (u16, String) {
        self.ask(
            "POST",
            "/v1/completions",
            r#"{"prompt": [300], "max_tokens": 3}"#,
        )
    }

    /// Waits until `/health` has this status.
    #[track_caller]
    fn until_health(&self, status: u16) {
        let begun = Instant::now();
        while self.ask("GET", "/health", "").0 != status {
            assert!(begun.elapsed() < PATIENCE, "health is not {status}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Stops it.
    fn stop(&mut self) {
        drop(self.stop.take());
        let server = self.server.take().expect("it runs");
        server.join().expect("it ends");
    }

    /// What became of the engine.
    fn end(&self) -> Result<()> {
        self.end.recv_timeout(PATIENCE).expect("the engine ends")
    }
}

fn answer(mut stream: impl Read) -> (u16, String) {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes); // what came before an error counts
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.unwrap_or(0), body.to_owned())
}

/// What stands behind each `data: ` that is left of a stream.
fn events(stream: TcpStream) -> Vec<String> {
    let lines = BufReader::new(stream)
        .lines()
        .map_while(std::result::Result::ok);
    let data = |line: String| Some(line.strip_prefix("data: ")?.to_owned());
    lines.filter_map(data).collect()
}

/// The message of an error.
#[track_caller]
fn message(text: &str) -> String {
    let value: Value = serde_json::from_str(text).expect("an object");
    value["error"]["message"]
        .as_str()
        .expect("a message")
        .to_owned()
}
