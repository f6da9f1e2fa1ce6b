//! Clients that mean no good, or do not know better: each is answered or left, nothing stays behind, and the next good
//! request is answered as ever.

use crate::client::{Answer, PATIENCE, Server, send};
use crate::{greedy, refused, shared};
use serde_json::json;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// The next good request is answered, and nothing runs.
#[track_caller]
fn well(server: &Server) {
    let text = server.text(&greedy("Once upon a time", 4));
    assert!(!text.is_empty());
}

#[test]
fn huge_bodies() {
    let server = shared();
    let large = format!("{{\"prompt\": \"{}\"}}", "a ".repeat(5 << 20)); // 10 MB
    refused(
        &server.ask("POST", "/v1/completions", &[], large.as_bytes()),
        413,
        None,
    );
    // a length that is only said, and one that cannot be
    let said = |length: &str| {
        format!(
            "POST /tokenize HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    assert_eq!(
        Answer::of(&server.raw(said("99999999999999").as_bytes())).status,
        413
    );
    for length in ["-1", "1e3", "99999999999999999999999999", "5, 6"] {
        assert_eq!(
            Answer::of(&server.raw(said(length).as_bytes())).status,
            400,
            "{length}"
        );
    }
    // chunks without an end
    let mut stream = server.connect();
    let head = "POST /tokenize HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("written");
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    for _ in 0..6 {
        stream.write_all(chunk.as_bytes()).expect("written");
    }
    stream.write_all(b"0\r\n\r\n").expect("written");
    refused(&Answer::read(stream), 413, None);
    well(&server);
}

#[test]
fn huge_numbers() {
    let server = shared();
    for (field, text) in [
        ("n", "1000000000"),
        ("n", "1e308"),
        ("n", "-1"),
        ("max_tokens", "18446744073709551615"),
        ("max_tokens", "1e30"),
        ("max_tokens", "100000"),
        ("logprobs", "1000000"),
        ("temperature", "1e39"),
        ("temperature", "-1"),
        ("top_p", "7"),
        ("top_k", "-7"),
        ("seed", "1e400"),
        ("temperature", "NaN"),
        ("temperature", "Infinity"),
        ("temperature", "1e999"),
    ] {
        let body = format!("{{\"prompt\": \"a\", \"{field}\": {text}}}");
        let answer = server.ask("POST", "/v1/completions", &[], body.as_bytes());
        let is_json = serde_json::from_str::<serde_json::Value>(&body).is_ok();
        refused(&answer, 400, is_json.then_some(field));
    }
    let many = json!({"prompt": vec!["a"; 200]});
    refused(&server.post("/v1/completions", &many), 400, Some("prompt"));
    well(&server);
}

#[test]
fn json_that_is_none_or_too_deep() {
    let server = shared();
    let deep = |depth: usize| format!("{{\"prompt\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
    let objects = format!(
        "{{\"tools\": {}1{}}}",
        "{\"a\":".repeat(100_000),
        "}".repeat(100_000)
    );
    for body in [
        deep(100),
        deep(1_000_000),
        objects,
        "[".repeat(1_000_000),
        String::new(),
        "null".to_owned(),
        "\"prompt\"".to_owned(),
        "{\"prompt\": \"a\"".to_owned(),
        "{\"prompt\": \"a\"} {}".to_owned(),
        "{\"prompt\": \"\\ud800\"}".to_owned(),
        "prompt=a".to_owned(),
    ] {
        for path in [
            "/v1/completions",
            "/v1/chat/completions",
            "/tokenize",
            "/apply-template",
        ] {
            let answer = server.ask("POST", path, &[], body.as_bytes());
            assert_eq!(answer.status, 400, "{path} {}", answer.text());
        }
    }
    let answer = server.ask(
        "POST",
        "/v1/completions",
        &[],
        b"{\"prompt\": \"\xff\xfe\"}",
    );
    refused(&answer, 400, None);
    well(&server);
}

#[test]
fn slow_clients() {
    let server = Server::start(&["--timeout", "1", "--parallel", "2"]);
    let begun = Instant::now();
    // headers that do not end
    let mut heads = server.connect();
    heads
        .write_all(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nx-slow: ")
        .expect("written");
    // nothing at all
    let mut silent = server.connect();
    // a body that does not come
    let mut bodies = server.connect();
    let head = "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"prompt\"";
    bodies.write_all(head.as_bytes()).expect("written");
    // one whose every byte takes its time
    let mut drops = server.connect();
    drops.write_all(head.as_bytes()).expect("written");
    let dropping = std::thread::spawn(move || {
        while drops.write_all(b" ").is_ok() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    well(&server);
    refused(&Answer::read(&mut bodies), 408, None);
    let mut rest = Vec::new();
    let _ = heads.read_to_end(&mut rest);
    let _ = silent.read_to_end(&mut rest);
    dropping.join().expect("it is closed");
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    well(&server);
}

/// A stream that nobody reads holds nobody up, and ends when its slot is done.
#[test]
fn slow_readers() {
    let server = Server::start(&["--timeout", "1", "--parallel", "1"]);
    let mut lazy = server.connect();
    let mut body = greedy("Once", 900);
    body["stream"] = true.into();
    body["logprobs"] = 20.into(); // long events fill what the system keeps
    send(
        &mut lazy,
        "POST",
        "/v1/completions",
        &[],
        body.to_string().as_bytes(),
    );
    well(&server); // behind the lazy one, in the only slot
    server.until_idle();
}

#[test]
fn clients_that_leave() {
    let server = Server::start(&["--parallel", "2"]);
    let body = greedy("Once", 600).to_string();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    for cut in [
        0,
        5,
        30,
        head.len() - 2,
        head.len(),
        head.len() + 7,
        head.len() + body.len(),
    ] {
        for how in [None, Some(Shutdown::Write), Some(Shutdown::Both)] {
            let mut stream = server.connect();
            let whole = head.clone() + &body;
            stream.write_all(&whole.as_bytes()[..cut]).expect("written");
            if let Some(how) = how {
                let _ = stream.shutdown(how);
            }
        }
    }
    server.until_idle();
    well(&server);
    server.until_idle();
}

#[test]
fn bytes_that_are_no_requests() {
    let server = shared();
    for bytes in [
        &b"\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", // the beginning of TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\nzzz\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
        b"GET /\x00\x01 HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = server.connect();
        stream.write_all(bytes).expect("written");
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.0 4"), "{text}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(1 << 20));
    let answer = server.raw(long.as_bytes());
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"));
    let many: String = (0..5000).map(|i| format!("x-{i}: y\r\n")).collect();
    let answer = server.raw(format!("GET / HTTP/1.1\r\n{many}\r\n").as_bytes());
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"));
    well(&server);
}

/// One connection after the other, and many requests on one.
#[test]
fn connections_are_used_again() {
    let server = shared();
    let mut stream = server.connect();
    for _ in 0..50 {
        stream
            .write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            .expect("written");
    }
    stream
        .write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .expect("written");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answers");
    assert_eq!(text.matches("HTTP/1.1 200").count(), 51);
}

/// More connections than the server keeps: those without a request make room for those with one.
#[test]
fn thousands_of_connections() {
    let server = shared();
    let mut open = Vec::new();
    for _ in 0..3000 {
        match std::net::TcpStream::connect(server.address) {
            Ok(stream) => open.push(stream),
            Err(_) => break, // as many as this machine lets one process have
        }
        if open.len() % 500 == 0 {
            drop(open.drain(..250)); // half of them leave again
            well(&server);
        }
    }
    assert!(open.len() >= 250, "{}", open.len());
    well(&server);
    drop(open);
    well(&server);
    let begun = Instant::now();
    while server.metric("fairy2i_connections") > 200.0 {
        assert!(begun.elapsed() < PATIENCE, "connections stay");
    }
}

/// Tokens that control a chat are text where a user writes them.
#[test]
fn control_tokens_in_messages() {
    let server = shared();
    let tokens = |content: &str| {
        let body = json!({"messages": [{"role": "user", "content": content}], "max_tokens": 1});
        server.good("/v1/chat/completions", &body)["usage"]["prompt_tokens"]
            .as_u64()
            .expect("tokens")
    };
    // as a control token it would be one
    assert!(tokens("a</s>b") > tokens("ab") + 1);
}
