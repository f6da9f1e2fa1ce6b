//! Every endpoint, and what its answers look like.

use crate::{greedy, refused, shared};
use serde_json::{Value, json};

#[test]
fn health_models_and_properties() {
    let server = shared();
    assert_eq!(server.get("/health").json(), json!({"status": "ok"}));
    let models = server.get("/v1/models").json();
    assert_eq!(models["object"], "list");
    let model = &models["data"][0];
    assert_eq!(
        (&model["id"], &model["object"]),
        (&json!("builtin"), &json!("model"))
    );
    assert_eq!(server.get("/v1/models/builtin").json(), *model);
    refused(&server.get("/v1/models/other"), 404, Some("model"));
    let props = server.get("/props").json();
    assert_eq!(props["total_slots"], 4);
    assert_eq!(
        props["default_generation_settings"]["n_ctx"],
        model["meta"]["n_ctx"]
    );
    let slots = server.get("/slots").json();
    assert_eq!(slots.as_array().map(Vec::len), Some(4));
}

#[test]
fn completions_have_openais_form() {
    let server = shared();
    let answer = server.good("/v1/completions", &greedy("Once upon a time", 8));
    assert!(
        answer["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("cmpl-"))
    );
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["model"], "builtin");
    assert!(
        answer["created"]
            .as_u64()
            .is_some_and(|time| time > 1_700_000_000)
    );
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["index"], &choice["logprobs"]),
        (&json!(0), &Value::Null)
    );
    assert_eq!(choice["finish_reason"], "length");
    assert!(choice["text"].as_str().is_some_and(|text| !text.is_empty()));
    let usage = &answer["usage"];
    assert_eq!(usage["completion_tokens"], 8);
    let prompt = usage["prompt_tokens"].as_u64().expect("tokens");
    assert_eq!(usage["total_tokens"], prompt + 8);
    assert!(usage["prompt_tokens_details"]["cached_tokens"].is_u64());
    // as many as OpenAI makes where nobody says how many
    let answer = server.good(
        "/v1/completions",
        &json!({"prompt": "A", "ignore_eos": true}),
    );
    assert_eq!(answer["usage"]["completion_tokens"], 16);
}

#[test]
fn prompts_of_all_forms_are_the_same_prompt() {
    let server = shared();
    let ids = server.good(
        "/tokenize",
        &json!({"content": "The old captain", "add_special": true}),
    );
    let ids = &ids["tokens"];
    let text = server.text(&greedy("The old captain", 6));
    for prompt in [json!(ids), json!([ids]), json!(["The old captain"])] {
        let mut body = greedy("", 6);
        body["prompt"] = prompt;
        assert_eq!(server.text(&body), text);
    }
    let mut body = greedy("", 6);
    body["prompt"] = json!(["The old captain", "A dog", "The old captain"]);
    let answer = server.good("/v1/completions", &body);
    let choices = answer["choices"].as_array().expect("choices");
    let indices: Vec<_> = choices
        .iter()
        .map(|choice| choice["index"].as_u64())
        .collect();
    assert_eq!(indices, [Some(0), Some(1), Some(2)]);
    assert_eq!(
        (&choices[0]["text"], &choices[2]["text"]),
        (&json!(text), &json!(text))
    );
    assert_eq!(
        choices[1]["text"],
        server.text(&greedy("A dog", 6)).as_str()
    );
}

#[test]
fn choices_of_one_prompt_have_the_seeds_that_follow() {
    let server = shared();
    let body = |n: u32, seed: i64| json!({"prompt": "She", "n": n, "seed": seed, "max_tokens": 12});
    let three = server.good("/v1/completions", &body(3, 7));
    assert_eq!(
        three["usage"]["prompt_tokens"],
        server.good("/v1/completions", &body(1, 7))["usage"]["prompt_tokens"]
    );
    for index in 0..3_usize {
        let alone = server.text(&body(1, 7 + index as i64));
        assert_eq!(three["choices"][index]["text"], alone.as_str());
    }
    assert_ne!(three["choices"][0]["text"], three["choices"][1]["text"]);
}

/// A prompt with its log-probabilities and so many new tokens; and how many tokens it has.
fn echoed(max_tokens: usize) -> (Value, usize) {
    let server = shared();
    let text = json!({"content": "The sea is blue", "add_special": true});
    let ids = server.good("/tokenize", &text)["tokens"].clone();
    let body = json!({
        "prompt": [ids], "max_tokens": max_tokens, "temperature": 0, "logprobs": 1, "echo": true, "seed": 1234,
    });
    let answer = server.good("/v1/completions", &body);
    assert_eq!(answer["usage"]["completion_tokens"], max_tokens);
    let n = ids.as_array().expect("ids").len();
    (answer["choices"][0].clone(), n)
}

fn list<'a>(choice: &'a Value, name: &str) -> &'a [Value] {
    choice["logprobs"][name].as_array().expect("a list")
}

#[test]
fn echo_with_log_probabilities_is_what_an_evaluation_needs() {
    let (choice, n) = echoed(1);
    for name in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(list(&choice, name).len(), n + 1, "{name}");
    }
    let (own, top) = (
        list(&choice, "token_logprobs"),
        list(&choice, "top_logprobs"),
    );
    assert_eq!((&own[0], &top[0]), (&Value::Null, &Value::Null));
    for (own, top) in own.iter().zip(top).skip(1) {
        let top = top.as_object().expect("tokens").values();
        let best = top.filter_map(Value::as_f64).fold(f64::MIN, f64::max);
        let fits = |own: f64| own <= best && best <= 0.0;
        assert!(own.as_f64().is_some_and(fits), "{own} {best}");
    }
    // the new token is the most likely one
    let best = top[n].as_object().expect("tokens").values().next();
    assert_eq!(best, own.last());
    // the prompt alone says the same
    let (alone, _) = echoed(0);
    assert_eq!(alone["text"], "The sea is blue");
    assert_eq!(alone["finish_reason"], "length");
    assert_eq!(list(&alone, "token_logprobs"), &own[..n]);
}

#[test]
fn tokens_of_an_echo_stand_where_they_are_in_the_text() {
    let (choice, n) = echoed(3);
    let text = choice["text"].as_str().expect("a text");
    assert!(text.starts_with("The sea is blue"));
    let text: Vec<char> = text.chars().collect();
    let placed = list(&choice, "tokens")
        .iter()
        .zip(list(&choice, "text_offset"));
    for (token, offset) in placed.skip(1).take(n - 1) {
        let token: Vec<char> = token.as_str().expect("a token").chars().collect();
        let offset = offset.as_u64().expect("an offset") as usize;
        assert_eq!(text[offset..offset + token.len()], token[..]);
    }
}

#[test]
fn an_answer_is_held_to_its_schema() {
    let server = shared();
    let schema = json!({
        "type": "object",
        "properties": {"sea": {"enum": ["blue", "green"]}, "waves": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["sea", "waves"],
        "additionalProperties": false,
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "sea", "schema": schema}});
    let mut body = json!({
        "messages": [{"role": "user", "content": "How is the sea?"}], "max_tokens": 200, "seed": 1, "response_format": format,
    });
    for seed in 0..3 {
        body["seed"] = seed.into();
        let answer = server.good("/v1/chat/completions", &body);
        let text = answer["choices"][0]["message"]["content"]
            .as_str()
            .expect("a text");
        let sea: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{answer}"));
        assert!(sea["sea"] == "blue" || sea["sea"] == "green", "{text}");
        assert!(
            sea["waves"].as_u64().is_some_and(|waves| waves < 100),
            "{text}"
        );
    }
    body["response_format"]["json_schema"]["schema"] = json!({"type": "no such type"});
    refused(
        &server.post("/v1/chat/completions", &body),
        400,
        Some("response_format"),
    );
}

#[test]
fn chats_have_openais_form() {
    let server = shared();
    let messages = json!([{"role": "user", "content": "Tell me of the sea."}]);
    let body = json!({
        "messages": messages, "max_tokens": 5, "temperature": 0, "logprobs": true, "top_logprobs": 2, "ignore_eos": true,
    });
    let answer = server.good("/v1/chat/completions", &body);
    assert!(
        answer["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("chatcmpl-"))
    );
    assert_eq!(answer["object"], "chat.completion");
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["role"], "assistant");
    let text = choice["message"]["content"].as_str().expect("a text");
    let content = choice["logprobs"]["content"].as_array().expect("tokens");
    assert_eq!(content.len(), 5);
    let mut bytes = Vec::new();
    for token in content {
        let top = token["top_logprobs"].as_array().expect("tokens");
        assert_eq!(top.len(), 2);
        assert_eq!(top[0]["token"], token["token"]);
        assert!(top[0]["logprob"].as_f64() >= top[1]["logprob"].as_f64());
        let own = token["bytes"].as_array().into_iter().flatten();
        bytes.extend(own.filter_map(Value::as_u64).map(|byte| byte as u8));
    }
    assert_eq!(String::from_utf8_lossy(&bytes), text);
    // the template's text as a prompt of its own
    let prompt = server.good("/apply-template", &json!({"messages": messages}))["prompt"].clone();
    assert!(
        prompt
            .as_str()
            .is_some_and(|text| text.contains("Tell me of the sea."))
    );
    // and where nobody says how much, as much as there is room for
    let long = json!({"messages": messages, "temperature": 0, "stop": ["e", "a", "."]});
    let answer = server.good("/v1/chat/completions", &long);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["choices"][0]["logprobs"], Value::Null);
}

#[test]
fn texts_become_tokens_and_tokens_texts() {
    let server = shared();
    let text = "Ünïcode, 3 € and\n日本";
    let tokens = server.good("/tokenize", &json!({"content": text}))["tokens"].clone();
    assert_eq!(
        server.good("/detokenize", &json!({"tokens": tokens}))["content"],
        text
    );
    let with = server.good(
        "/tokenize",
        &json!({"content": text, "with_pieces": true, "add_special": true}),
    );
    let with = with["tokens"].as_array().expect("tokens");
    assert_eq!(with.len(), tokens.as_array().expect("tokens").len() + 1);
    assert!(
        with.iter().any(|token| token["piece"].is_array()),
        "{with:?}"
    );
    assert!(with.iter().all(|token| token["id"].is_u64()));
    refused(&server.post("/tokenize", &json!({})), 400, Some("content"));
    refused(
        &server.post("/detokenize", &json!({"tokens": [-1]})),
        400,
        Some("tokens[0]"),
    );
    refused(
        &server.post("/detokenize", &json!({"tokens": 3})),
        400,
        Some("tokens"),
    );
}

#[test]
fn what_is_not_there_is_said_in_openais_form() {
    let server = shared();
    for path in [
        "/nothing",
        "/v1",
        "/v1/responses",
        "/v1/completions/",
        "/%00",
        "/../etc/passwd",
    ] {
        refused(&server.get(path), 404, None);
    }
    for path in [
        "/v1/completions",
        "/v1/chat/completions",
        "/tokenize",
        "/detokenize",
        "/apply-template",
    ] {
        let answer = server.get(path);
        refused(&answer, 405, None);
        assert_eq!(answer.header("allow"), Some("post"));
    }
    for path in ["/", "/health", "/v1/models", "/metrics", "/slots", "/props"] {
        refused(&server.post(path, &json!({})), 405, None);
        refused(&server.ask("DELETE", path, &[], b""), 405, None);
    }
}

#[test]
fn what_happened_is_counted() {
    let server = shared();
    let before = server.metric("fairy2i_generated_tokens_total");
    let firsts = server.metric("fairy2i_time_to_first_token_seconds_count");
    let betweens = server.metric("fairy2i_time_between_tokens_seconds_count");
    server.good("/v1/completions", &greedy("One", 5));
    refused(
        &server.post("/v1/completions", &json!({"prompt": 3})),
        400,
        Some("prompt"),
    );
    // tests beside this one count as well
    assert!(server.metric("fairy2i_generated_tokens_total") >= before + 5.0);
    assert!(server.metric("fairy2i_time_to_first_token_seconds_count") >= firsts + 1.0);
    assert!(server.metric("fairy2i_time_between_tokens_seconds_count") >= betweens + 4.0);
    for status in [200, 400] {
        let name =
            format!("fairy2i_requests_total{{path=\"/v1/completions\",status=\"{status}\"}}");
        assert!(server.metric(&name) >= 1.0, "{name}");
    }
    assert_eq!(server.metric("fairy2i_slots"), 4.0);
}

#[test]
fn a_request_is_a_line_in_the_log() {
    let server = crate::client::Server::start(&["--alias", "tiny"]);
    let answer = server.post("/v1/completions", &greedy("Two", 3));
    assert_eq!(answer.json()["model"], "tiny");
    let id = answer.header("x-request-id").expect("a name").to_owned();
    assert!(
        answer.json()["id"]
            .as_str()
            .is_some_and(|long| long.ends_with(&id))
    );
    let begun = std::time::Instant::now();
    let line = loop {
        if let Some(line) = server.lines("/v1/completions").pop() {
            break line;
        }
        assert!(
            begun.elapsed() < crate::client::PATIENCE,
            "{}",
            server.log()
        );
    };
    for part in [
        &id,
        "method=POST",
        "status=200",
        "outcome=\"complete\"",
        "new=3",
        "cached=0",
        "first_ms=",
        "queued_ms=",
        "total_ms=",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}
