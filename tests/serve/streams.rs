//! Answers as streams: they come token by token, and end when their clients do.

use crate::{greedy, refused, shared};
use serde_json::{Value, json};

fn streaming(mut body: Value) -> Value {
    body["stream"] = true.into();
    body
}

#[test]
fn the_first_token_comes_before_the_last_one_is_made() {
    let server = shared();
    let mut events = server.stream("/v1/completions", &streaming(greedy("Once upon", 300)));
    assert_eq!(events.status, 200);
    let first: Value = serde_json::from_str(&events.next().expect("an event")).expect("an object");
    assert!(first["choices"][0]["text"].is_string(), "{first}");
    let (busy, _) = server.busy();
    assert!(
        busy >= 1,
        "the answer is complete when its first token comes"
    );
    let rest = events.objects();
    let last = &rest[rest.len() - 1]["choices"][0];
    assert_eq!(last["finish_reason"], "length");
}

#[test]
fn a_stream_is_the_whole_answer() {
    let server = shared();
    let mut body = greedy("The captain said: 3 € —", 40);
    body["logprobs"] = 2.into();
    body["echo"] = true.into();
    let whole = server.good("/v1/completions", &body);
    let mut body = streaming(body);
    body["stream_options"] = json!({"include_usage": true});
    let chunks = server.stream("/v1/completions", &body).objects();
    let (usage, chunks) = chunks.split_last().expect("chunks");
    for name in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        assert_eq!(usage["usage"][name], whole["usage"][name], "{name}");
    }
    assert_eq!(usage["choices"], json!([]));
    let mut text = String::new();
    let mut lists: [Vec<Value>; 4] = Default::default();
    const NAMES: [&str; 4] = ["tokens", "token_logprobs", "top_logprobs", "text_offset"];
    for chunk in chunks {
        assert_eq!(
            (&chunk["object"], &chunk["usage"]),
            (&json!("text_completion"), &Value::Null)
        );
        let choice = &chunk["choices"][0];
        text += choice["text"].as_str().expect("a text");
        for (list, name) in lists.iter_mut().zip(NAMES) {
            list.extend(
                choice["logprobs"][name]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .cloned(),
            );
        }
    }
    assert_eq!(whole["choices"][0]["text"], text.as_str());
    for (list, name) in lists.into_iter().zip(NAMES) {
        assert_eq!(
            whole["choices"][0]["logprobs"][name],
            Value::Array(list),
            "{name}"
        );
    }
}

#[test]
fn chats_stream_their_choices_side_by_side() {
    let server = shared();
    let body = json!({
        "messages": [{"role": "user", "content": "Hello"}], "n": 2, "seed": 3, "max_tokens": 12, "ignore_eos": true,
    });
    let whole = server.good("/v1/chat/completions", &body);
    let chunks = server
        .stream("/v1/chat/completions", &streaming(body))
        .objects();
    let mut texts = [String::new(), String::new()];
    let mut ends = [Value::Null, Value::Null];
    for (index, chunk) in chunks.iter().enumerate() {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        let choice = &chunk["choices"][0];
        let which = choice["index"].as_u64().expect("an index") as usize;
        if index < 2 {
            assert_eq!(choice["delta"]["role"], "assistant");
        }
        texts[which] += choice["delta"]["content"].as_str().unwrap_or_default();
        if !choice["finish_reason"].is_null() {
            ends[which] = choice["finish_reason"].clone();
        }
    }
    assert_eq!(ends, [json!("length"), json!("length")]);
    for (index, text) in texts.iter().enumerate() {
        assert_eq!(whole["choices"][index]["message"]["content"], text.as_str());
    }
}

#[test]
fn what_is_refused_is_no_stream() {
    let server = shared();
    let mut body = streaming(greedy("Once", 4));
    body["max_tokens"] = 1_000_000.into();
    refused(
        &server.post("/v1/completions", &body),
        400,
        Some("max_tokens"),
    );
}

#[test]
fn who_leaves_frees_the_slot_at_once() {
    let server = crate::client::Server::start(&["--parallel", "1"]);
    let cancelled = |n: f64| {
        server.until_idle();
        assert_eq!(server.metric("fairy2i_sequences_cancelled_total"), n);
    };
    // in the middle of a stream
    let mut events = server.stream("/v1/completions", &streaming(greedy("Once", 900)));
    assert!(events.next().is_some());
    drop(events);
    cancelled(1.0);
    // while a whole answer is being made, and while others wait for their turn
    let mut streams: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for stream in &mut streams {
        let body = greedy("Twice", 900).to_string();
        crate::client::send(stream, "POST", "/v1/completions", &[], body.as_bytes());
    }
    let begun = std::time::Instant::now();
    while server.busy() != (1, 2) {
        assert!(
            begun.elapsed() < crate::client::PATIENCE,
            "{:?}",
            server.busy()
        );
    }
    drop(streams);
    cancelled(4.0);
    assert!(server.metric("fairy2i_generated_tokens_total") < 3000.0);
    assert!(!server.text(&greedy("Next", 2)).is_empty());
}
