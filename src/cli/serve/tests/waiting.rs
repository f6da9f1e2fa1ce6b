//! Clients that wait, that leave, and that are too many.

use super::fake::{Script, Step};
use super::{PATIENCE, Running, events, message, settings};
use crate::cli::serve::app::Settings;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const LONG: &str = r#"{"prompt": [300], "max_tokens": 1000, "stream": true}"#;

#[test]
fn nothing_is_answered_before_the_model_is_there() {
    let script = Script::free();
    script.hold(true);
    let server = Running::start(&script, settings());
    assert_eq!(server.ask("GET", "/health", "").0, 503);
    let (status, text) = server.complete();
    assert_eq!(status, 503);
    assert!(message(&text).contains("being loaded"), "{text}");
    script.hold(false);
    server.until_health(200);
    assert_eq!(server.complete().0, 200);
}

/// Each token leaves when it is made, not when there are more.
#[test]
fn tokens_leave_one_by_one() {
    let script = Script::default();
    let server = Running::start(&script, settings());
    server.until_health(200);
    let mut stream = server.send("POST", "/v1/completions", LONG);
    script.until_running(1);
    let mut text = String::new();
    for token in 1..5 {
        script.steps(&[Step::Tokens]);
        let wanted = format!("\" {token}\"");
        let begun = Instant::now();
        while !text.contains(&wanted) {
            let mut bytes = [0; 4096];
            let n = stream.read(&mut bytes).expect("more");
            text += &String::from_utf8_lossy(&bytes[..n]);
            assert!(n > 0 && begun.elapsed() < PATIENCE, "{text}");
        }
        assert!(!text.contains(&format!("\" {}\"", token + 1)), "{text}");
    }
}

#[test]
fn who_leaves_is_cancelled_though_no_token_comes() {
    let script = Script::default();
    let server = Running::start(&script, settings());
    server.until_health(200);
    let stream = server.send("POST", "/v1/completions", LONG);
    let whole = server.send(
        "POST",
        "/v1/completions",
        r#"{"prompt": [[300], [301]], "max_tokens": 1000}"#,
    );
    script.until_running(3);
    script.steps(&[Step::Tokens]);
    drop((stream, whole));
    // The engine is asked between steps, of which there are fewer than tokens are wanted.
    let begun = Instant::now();
    while script.cancelled() < 3 && begun.elapsed() < PATIENCE {
        script.steps(&[Step::Tokens]);
        std::thread::sleep(Duration::from_millis(50));
    }
    script.until_cancelled(3);
    script.until_running(0);
}

#[test]
fn choices_are_taken_together_or_not_at_all() {
    let script = Script::default();
    let server = Running::start(&script, settings());
    server.until_health(200);
    let (status, text) = server.ask("POST", "/v1/completions", r#"{"prompt": [300], "n": 5}"#);
    assert_eq!(status, 429, "{text}");
    script.until_cancelled(4);
    script.until_running(0);
    script.all(Step::Tokens);
    assert_eq!(server.complete().0, 200);
}

#[test]
fn a_stop_ends_streams_that_go_on_too_long() {
    let script = Script::default();
    let settings = Settings {
        grace: Duration::from_millis(50),
        ..settings()
    };
    let mut server = Running::start(&script, settings);
    server.until_health(200);
    let stream = server.send("POST", "/v1/completions", LONG);
    script.until_running(1);
    script.steps(&[Step::Tokens]);
    server.stop(); // while the engine waits for a step
    let mut told = events(stream);
    let last = told.pop().expect("an event");
    assert!(message(&last).contains("the server stops"), "{last}");
    assert!(told.iter().any(|event| event.contains(" 1")), "{told:?}");
    script.all(Step::Tokens);
    server.end().expect("it stops as it should");
}

/// A connection that has no request makes room for one that has.
#[test]
fn idle_connections_make_room() {
    let script = Script::free();
    let settings = Settings {
        connections: 8,
        ..settings()
    };
    let server = Running::start(&script, settings);
    let mut idle: Vec<_> = (0..40)
        .map(|_| TcpStream::connect(server.address).expect("it listens"))
        .collect();
    let begun = Instant::now();
    server.until_health(200);
    assert_eq!(server.complete().0, 200);
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "it waited for idle connections"
    );
    let mut closed = 0;
    for stream in &mut idle {
        let waits = stream.set_read_timeout(Some(Duration::from_millis(50)));
        waits.expect("a time-out");
        closed += usize::from(matches!(stream.read(&mut [0]), Ok(0)));
    }
    assert!(closed >= 32, "more connections than there may be");
}

/// A client that takes nothing is left when patience ends, and its request with it.
#[test]
fn who_takes_nothing_is_left() {
    let script = Script::free();
    let settings = Settings {
        patience: Duration::from_millis(300),
        ..settings()
    };
    let server = Running::start(&script, settings);
    server.until_health(200);
    // more than the system keeps for a client that does not read
    let mut lazy = TcpStream::connect(server.address).expect("it listens");
    let request = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(20_000);
    lazy.set_write_timeout(Some(Duration::from_secs(3)))
        .expect("a time-out");
    let _ = lazy.write_all(request.as_bytes());
    let begun = Instant::now();
    while server.app.metrics.connections.get() > 0 {
        assert!(begun.elapsed() < PATIENCE, "it stays");
        std::thread::sleep(Duration::from_millis(10));
    }
}
