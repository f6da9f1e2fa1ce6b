//! How a server begins and ends.

use crate::client::{PATIENCE, Server};
use crate::{greedy, refused};
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};

fn signal(server: &Server, name: &str) {
    let sent = Command::new("kill")
        .args([name, &server.id().to_string()])
        .status();
    assert!(sent.expect("a shell's kill").success());
}

/// A stream that has begun.
fn begun(server: &Server, tokens: usize) -> crate::client::Events {
    let mut body = greedy("Once upon a time", tokens);
    body["stream"] = true.into();
    let mut events = server.stream("/v1/completions", &body);
    assert!(events.next().is_some());
    events
}

#[test]
fn running_answers_finish_before_the_end() {
    let server = Server::start(&["--parallel", "2"]);
    let mut idle = server.connect();
    let events = begun(&server, 60);
    signal(&server, "-TERM");
    let last = events.objects().pop().expect("chunks");
    assert_eq!(last["choices"][0]["finish_reason"], "length");
    assert_eq!(server.end(), 0);
    let mut byte = [0];
    let left = std::io::Read::read(&mut idle, &mut byte);
    assert!(matches!(left, Ok(0) | Err(_)), "an idle connection stays");
    assert!(
        std::net::TcpStream::connect(server.address).is_err(),
        "it still listens"
    );
}

#[test]
fn answers_that_do_not_finish_in_time_end_with_an_error() {
    let server = Server::start(&["--parallel", "1", "--grace", "0"]);
    let events = begun(&server, 1000);
    let whole = {
        let mut stream = server.connect();
        let body = greedy("Twice", 1000).to_string();
        crate::client::send(&mut stream, "POST", "/v1/completions", &[], body.as_bytes());
        stream
    };
    let waits = Instant::now();
    while server.busy() != (1, 1) {
        assert!(waits.elapsed() < PATIENCE);
    }
    signal(&server, "-INT");
    let last = events.rest().pop().expect("an event");
    let last: Value = serde_json::from_str(&last).expect("an object");
    assert!(last["error"]["message"].is_string(), "{last}");
    refused(&crate::client::Answer::read(whole), 503, None);
    assert_eq!(server.end(), 0);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let server = Server::start(&["--grace", "600"]);
    let _events = begun(&server, 1000);
    signal(&server, "-TERM");
    let waits = Instant::now();
    while !server.log().contains("SIGTERM") {
        assert!(waits.elapsed() < PATIENCE);
    }
    signal(&server, "-TERM");
    assert_eq!(server.end(), 143);
}

#[test]
fn a_port_that_is_taken_is_an_error_at_once() {
    let server = Server::start(&[]);
    let port = server.address.port().to_string();
    let begun = Instant::now();
    let second = Command::new(env!("CARGO_BIN_EXE_fairy2i-gpu"))
        .args(["serve", "--device", "cpu", "--port", &port])
        .output()
        .expect("the program starts");
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(2), "{text}");
    assert!(
        text.starts_with("error: ") && text.contains("--port"),
        "{text}"
    );
    assert!(begun.elapsed() < Duration::from_secs(20));
    // killed without a word, it is there again at once
    drop(server);
    let again = Server::start(&["--port", &port]);
    assert_eq!(
        again.good("/v1/completions", &json!({"prompt": "A", "max_tokens": 1}))["object"],
        "text_completion"
    );
}

#[test]
fn a_model_that_does_not_open_is_an_error() {
    let run = Command::new(env!("CARGO_BIN_EXE_fairy2i-gpu"))
        .args([
            "serve",
            "--device",
            "cpu",
            "--port",
            "0",
            "-m",
            "no-such-folder",
        ])
        .output()
        .expect("the program starts");
    let text = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(2), "{text}");
    assert!(
        text.contains("no-such-folder") && !text.contains("listening"),
        "{text}"
    );
    for options in [
        ["--api-key", ""],
        ["--cors", "example.org"],
        ["--host", "no.such.host.invalid"],
        ["--max-waiting", "0"],
    ] {
        let run = Command::new(env!("CARGO_BIN_EXE_fairy2i-gpu"))
            .args(["serve", "--device", "cpu", "--port", "0"])
            .args(options)
            .output()
            .expect("the program starts");
        assert_eq!(run.status.code(), Some(2), "{options:?}");
    }
}
