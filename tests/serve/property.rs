//! Whatever a client sends, it gets an answer, and so does the next one. `PROPTEST_CASES` says how many cases are tried.

use crate::client::Server;
use crate::{greedy, shared};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use std::io::Write;
use std::time::{Duration, Instant};

/// Cases where nobody says how many.
const CASES: u32 = 200;
/// The longest that an answer may take: every one here has few tokens or is refused.
const LONGEST: Duration = Duration::from_secs(30);

/// What a client does.
#[derive(Debug, Clone)]
enum Case {
    /// Sends this body to this path.
    Body(&'static str, Vec<u8>),
    /// Sends these bytes and leaves.
    Bytes(Vec<u8>),
    /// Sends so much of a good request and leaves.
    Cut(usize),
}

const PATHS: [&str; 5] = [
    "/v1/completions",
    "/v1/chat/completions",
    "/tokenize",
    "/detokenize",
    "/apply-template",
];

const NAMES: [&str; 36] = [
    "prompt",
    "messages",
    "content",
    "tokens",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "stop",
    "n",
    "best_of",
    "echo",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "repeat_penalty",
    "ignore_eos",
    "stream",
    "stream_options",
    "suffix",
    "model",
    "tools",
    "tool_choice",
    "response_format",
    "chat_template_kwargs",
    "documents",
    "cache_prompt",
    "add_special",
    "with_pieces",
    "user",
];

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>()
            .prop_map(|n| serde_json::Number::from_f64(n).map_or(Value::Null, Value::Number)),
        (-3_i64..30).prop_map(Value::from),
        (-2.0..3.0).prop_map(|n: f64| json!(n)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number(),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "user",
            "system",
            "text",
            "json_schema",
            "object",
            "auto",
            "</s>",
            "\u{0}",
            "Once"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let key = prop_oneof![
            any::<String>(),
            prop::sample::select(vec![
                "role",
                "content",
                "type",
                "text",
                "schema",
                "json_schema",
                "function",
                "name",
                "1"
            ])
            .prop_map(str::to_owned),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A request that is good but for some of its fields; of many tokens only where nothing else says how many.
fn body() -> impl Strategy<Value = Value> {
    let base = prop_oneof![
        Just(json!({"prompt": "Once", "max_tokens": 2})),
        Just(json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2})),
        Just(json!({"content": "Once"})),
        Just(json!({"tokens": [300, 301]})),
        Just(json!({})),
    ];
    let field = (prop::sample::select(NAMES.to_vec()), value());
    (base, prop::collection::vec(field, 0..4)).prop_map(|(mut base, fields)| {
        let object = base.as_object_mut().expect("an object");
        object.extend(
            fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        object
            .entry("stop")
            .or_insert_with(|| json!(["e", "a", " "]));
        base
    })
}

/// JSON with bytes that were changed, cut off or put in.
fn broken() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6);
    (body(), edits).prop_map(|(body, edits)| {
        let mut bytes = body.to_string().into_bytes();
        for (at, byte, how) in edits {
            let at = at.index(bytes.len().max(1));
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 => bytes.insert(at.min(bytes.len()), byte),
                _ => bytes.truncate(at),
            }
        }
        bytes
    })
}

fn deep() -> impl Strategy<Value = Vec<u8>> {
    let open = prop::sample::select(vec!["[", "{\"a\":", "[[1],"]);
    (open, 1..20_000_usize, prop::sample::select(NAMES.to_vec())).prop_map(|(open, depth, name)| {
        format!("{{\"{name}\": {}", open.repeat(depth)).into_bytes()
    })
}

fn case() -> impl Strategy<Value = Case> {
    let path = || prop::sample::select(PATHS.to_vec());
    let json = body().prop_map(|body| body.to_string().into_bytes());
    prop_oneof![
        8 => (path(), json).prop_map(|(path, body)| Case::Body(path, body)),
        4 => (path(), broken()).prop_map(|(path, body)| Case::Body(path, body)),
        1 => (path(), deep()).prop_map(|(path, body)| Case::Body(path, body)),
        1 => (path(), prop::collection::vec(any::<u8>(), 0..400)).prop_map(|(path, body)| Case::Body(path, body)),
        1 => prop::collection::vec(any::<u8>(), 0..400).prop_map(Case::Bytes),
        1 => (0..200_usize).prop_map(Case::Cut),
    ]
}

fn run(server: &Server, case: &Case) -> Result<(), TestCaseError> {
    let begun = Instant::now();
    match case {
        Case::Body(path, body) => {
            let answer = server.ask("POST", path, &[], body);
            let known = [200, 400, 413, 429].contains(&answer.status);
            prop_assert!(known, "{} {}", answer.status, answer.text());
            let stream = answer.header("content-type") == Some("text/event-stream");
            if answer.status != 200 {
                prop_assert!(
                    answer.json()["error"]["message"].is_string(),
                    "{}",
                    answer.text()
                );
            } else if !stream {
                prop_assert!(answer.json().is_object());
            }
        }
        Case::Bytes(bytes) => drop(server.connect().write_all(bytes)),
        Case::Cut(length) => {
            let body = greedy("Once", 500).to_string();
            let whole = format!(
                "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = server
                .connect()
                .write_all(&whole.as_bytes()[..(*length).min(whole.len())]);
        }
    }
    prop_assert!(begun.elapsed() < LONGEST, "{:?}", begun.elapsed());
    Ok(())
}

#[test]
fn whatever_comes_the_next_good_request_is_answered() {
    let server = shared();
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|n| n.parse().ok());
    let config = Config {
        cases: cases.unwrap_or(CASES),
        failure_persistence: None,
        ..Config::default()
    };
    let text = server.text(&greedy("Once upon a time", 3));
    let tried = std::cell::Cell::new(0);
    let good = |server: &Server| server.text(&greedy("Once upon a time", 3));
    let result = TestRunner::new(config).run(&case(), |case| {
        run(&server, &case)?;
        tried.set(tried.get() + 1);
        if tried.get() % 20 == 0 {
            prop_assert_eq!(good(&server), text.clone());
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!(
            "{error}\n{}",
            server
                .log()
                .lines()
                .rev()
                .take(5)
                .collect::<Vec<_>>()
                .join("\n")
        );
    }
    assert_eq!(good(&server), text);
    assert!(!server.log().contains("panicked"));
}
