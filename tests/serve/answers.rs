//! Answers do not depend on who else is served.

use crate::client::Server;
use crate::shared;
use serde_json::{Value, json};

/// Requests of many kinds and lengths.
fn requests() -> Vec<Value> {
    let prompts = [
        "Once upon a time",
        "The old captain",
        "She said that",
        "In the year 1850, a man",
        "A",
    ];
    let mut all = Vec::new();
    for (index, prompt) in (0..20).zip(prompts.iter().cycle()) {
        let mut body = json!({"prompt": prompt, "max_tokens": 4 + 3 * (index % 7), "seed": index, "logprobs": 2});
        match index % 4 {
            0 => body["temperature"] = 0.into(),
            1 => body["top_k"] = 20.into(),
            2 => body["presence_penalty"] = 1.5.into(),
            _ => body["stop"] = json!(["."]),
        }
        if index % 5 == 0 {
            body["logit_bias"] = json!({"300": 2.5, "310": -100});
        }
        if index == 7 {
            body["prompt"] = prompt.repeat(30).into();
        }
        all.push(body);
    }
    all
}

/// What must be equal: everything but names, times and what was there already.
fn essence(answer: &Value) -> Value {
    json!([
        answer["choices"],
        answer["usage"]["completion_tokens"],
        answer["usage"]["prompt_tokens"]
    ])
}

/// Asks all at once.
fn together(server: &Server, all: &[Value]) -> Vec<Value> {
    std::thread::scope(|scope| {
        let ask = |body| scope.spawn(move || essence(&server.good("/v1/completions", body)));
        let asked: Vec<_> = all.iter().map(ask).collect();
        asked
            .into_iter()
            .map(|thread| thread.join().expect("an answer"))
            .collect()
    })
}

#[test]
fn many_at_once_are_answered_as_each_alone() {
    let server = shared();
    let all = requests();
    let crowd = together(&server, &all);
    for (body, answer) in all.iter().zip(crowd) {
        let alone = essence(&server.good("/v1/completions", body));
        assert_eq!(alone, answer, "{body}");
    }
}

#[test]
fn drafts_and_activations_of_8_bits_change_no_answer() {
    let server = Server::start(&[
        "--exact",
        "--activations",
        "8",
        "--parallel",
        "3",
        "--lookup",
        "4",
    ]);
    let all = requests();
    let crowd = together(&server, &all[..9]);
    let plain = Server::start(&["--exact", "--activations", "8", "--parallel", "1"]);
    for (body, answer) in all.iter().zip(crowd) {
        let alone = essence(&plain.good("/v1/completions", body));
        assert_eq!(alone, answer, "{body}");
    }
}

#[test]
fn a_prefix_that_is_there_changes_no_answer() {
    let server = shared();
    let prompt =
        "It was a dark night, and the ship went slowly along the coast of the island. ".repeat(4);
    let mut body =
        json!({"prompt": prompt, "max_tokens": 12, "temperature": 0, "cache_prompt": false});
    let anew = server.good("/v1/completions", &body);
    assert_eq!(anew["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    body["cache_prompt"] = true.into();
    let mut cached = 0;
    for _ in 0..4 {
        let again = server.good("/v1/completions", &body);
        assert_eq!(essence(&again), essence(&anew));
        cached += again["usage"]["prompt_tokens_details"]["cached_tokens"]
            .as_u64()
            .unwrap_or(0);
    }
    assert!(cached > 0, "nothing was there already");
}
