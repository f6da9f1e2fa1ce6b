//! The server as clients meet it: the built program on a port of its own, the built-in model on the CPU, bytes over TCP.
#![cfg(feature = "serve")]

mod answers;
mod browsers;
mod client;
mod endpoints;
mod hostile;
mod lengths;
#[cfg(unix)]
mod life;
mod property;
mod streams;

use client::Server;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A server that tests share while one of them runs.
pub fn shared() -> Arc<Server> {
    static SERVER: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    server.upgrade().unwrap_or_else(|| {
        let started = Arc::new(Server::start(&["--exact", "--parallel", "4"]));
        *server = Arc::downgrade(&started);
        started
    })
}

/// A completion that always has the same text.
pub fn greedy(prompt: &str, max_tokens: usize) -> Value {
    json!({"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": true})
}

/// The error that an answer must be, with this status, and the field that it names.
#[track_caller]
pub fn refused(answer: &client::Answer, status: u16, param: Option<&str>) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    let error = &answer.json()["error"];
    assert!(
        error["message"].as_str().is_some_and(|m| !m.is_empty()),
        "{text}"
    );
    assert!(error["type"].is_string(), "{text}");
    assert_eq!(error["param"].as_str(), param, "{text}");
}
