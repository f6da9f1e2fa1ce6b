//! What fits a context and a queue, and what does not.

use crate::client::{PATIENCE, Server};
use crate::{greedy, refused, shared};
use serde_json::json;

#[test]
fn what_does_not_fit_the_context_is_refused_with_the_counts() {
    let server = Server::start(&["--ctx-size", "64"]);
    assert_eq!(
        server.get("/props").json()["default_generation_settings"]["n_ctx"],
        64
    );
    let ids = vec![300; 40];
    let mut body = greedy("", 24);
    body["prompt"] = json!(ids);
    assert_eq!(
        server.good("/v1/completions", &body)["usage"]["total_tokens"],
        64
    );
    body["max_tokens"] = 25.into();
    let answer = server.post("/v1/completions", &body);
    refused(&answer, 400, Some("max_tokens"));
    assert_eq!(answer.json()["error"]["code"], "context_length_exceeded");
    for number in ["40", "25", "64"] {
        assert!(answer.text().contains(number), "{}", answer.text());
    }
    body["prompt"] = json!(vec![300; 65]);
    body["max_tokens"] = 0.into();
    refused(
        &server.post("/v1/completions", &body),
        400,
        Some("max_tokens"),
    );
    // a chat without a length gets what the context leaves
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let body = json!({"messages": messages, "ignore_eos": true, "temperature": 0});
    let answer = server.good("/v1/chat/completions", &body);
    let usage = &answer["usage"];
    let stopped = answer["choices"][0]["finish_reason"] == "stop"; // the form of the built-in model ends at a line
    assert!(usage["total_tokens"] == 64 || stopped, "{answer}");
    let long = "word ".repeat(100);
    let body = json!({"messages": [{"role": "user", "content": long}]});
    let answer = server.post("/v1/chat/completions", &body);
    refused(&answer, 400, Some("max_tokens"));
}

/// Far too long texts are refused by a look at their beginning.
#[test]
fn megabytes_of_prompt_are_refused_at_once() {
    let server = shared();
    let text = "word ".repeat(700_000);
    for (path, body, param) in [
        ("/v1/completions", json!({"prompt": text}), "prompt"),
        (
            "/v1/completions",
            json!({"prompt": vec![300; 500_000]}),
            "max_tokens",
        ),
        (
            "/v1/chat/completions",
            json!({"messages": [{"role": "user", "content": text}]}),
            "messages",
        ),
    ] {
        let answer = server.post(path, &body);
        refused(&answer, 400, Some(param));
        assert_eq!(answer.json()["error"]["code"], "context_length_exceeded");
    }
    refused(
        &server.post("/tokenize", &json!({"content": text})),
        400,
        Some("content"),
    );
}

#[test]
fn a_full_queue_says_so() {
    let server = Server::start(&["--parallel", "1", "--max-waiting", "2"]);
    let body = |n: u32| json!({"prompt": "Once", "max_tokens": 900, "n": n, "ignore_eos": true});
    // more than ever fit together make no sense
    refused(&server.post("/v1/completions", &body(3)), 400, Some("n"));
    let mut streams: Vec<_> = Vec::new();
    for expected in [(1, 0), (1, 1), (1, 2)] {
        let mut stream = server.connect();
        crate::client::send(
            &mut stream,
            "POST",
            "/v1/completions",
            &[],
            body(1).to_string().as_bytes(),
        );
        streams.push(stream);
        let begun = std::time::Instant::now();
        while server.busy() != expected {
            assert!(begun.elapsed() < PATIENCE, "{:?}", server.busy());
        }
    }
    let answer = server.post("/v1/completions", &body(1));
    refused(&answer, 429, None);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(
        server.busy(),
        (1, 2),
        "a refused request left something behind"
    );
    drop(streams);
    server.until_idle();
    assert_eq!(
        server.post("/v1/completions", &greedy("Once", 1)).status,
        200
    );
}

#[test]
fn stop_strings_end_a_text_before_them() {
    let server = shared();
    let whole = server.text(&greedy("Once upon a time", 24));
    let word = whole.split_whitespace().nth(3).expect("some words");
    let mut body = greedy("Once upon a time", 24);
    body["stop"] = json!(["never to be seen", word]);
    let answer = server.good("/v1/completions", &body);
    let text = answer["choices"][0]["text"].as_str().expect("a text");
    assert_eq!(Some(text), whole.split(word).next());
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
}

#[test]
fn a_bias_bans_a_token() {
    let server = shared();
    let mut body = greedy("Once upon a time", 1);
    body["logprobs"] = 0.into();
    let first =
        server.good("/v1/completions", &body)["choices"][0]["logprobs"]["tokens"][0].clone();
    let ids = server.good("/tokenize", &json!({"content": first}))["tokens"].clone();
    let id = ids[0].to_string();
    body["logit_bias"] = json!({id: -100});
    let second =
        server.good("/v1/completions", &body)["choices"][0]["logprobs"]["tokens"][0].clone();
    assert_ne!(first, second);
}
