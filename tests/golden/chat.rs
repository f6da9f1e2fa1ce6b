//! `chat.json`: chat templates, and the text or the refusal that transformers' environment gives for each chat.

use super::Report;
use fairy2i_gpu::files::chat_template::{ChatInput, ChatTemplate, Moment};
use serde_json::Value;

/// Seconds of `2025-03-09T07:05:00` on its own clock.
fn seconds(time: &str) -> i64 {
    let numbers: Vec<i64> = time
        .split(['-', 'T', ':'])
        .map(|part| part.parse().expect("a number"))
        .collect();
    let [year, month, day, hour, minute, second] = numbers[..] else {
        panic!("{time} is no time");
    };
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let years = (1970..year).map(|year| 365 + i64::from(leap(year)));
    let months = lengths.iter().take(month as usize - 1).sum::<i64>();
    let leap_day = i64::from(month > 2 && leap(year));
    let days = years.sum::<i64>() + months + leap_day + day - 1;
    ((days * 24 + hour) * 60 + minute) * 60 + second
}

fn input(case: &Value, now: Moment) -> ChatInput {
    let list = |name: &str| case.get(name).and_then(Value::as_array).cloned();
    let known = [
        "messages",
        "tools",
        "documents",
        "add_generation_prompt",
        "expected",
        "error",
    ];
    let fields = case.as_object().expect("a case");
    let others = fields
        .iter()
        .filter(|(name, _)| !known.contains(&name.as_str()));
    ChatInput {
        messages: list("messages").expect("messages"),
        tools: list("tools"),
        documents: list("documents"),
        add_generation_prompt: case["add_generation_prompt"] == true,
        variables: others
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        now: Some(now),
    }
}

/// Judges the fixture.
pub fn judge(fixture: &Value) -> Report {
    let mut report = Report::default();
    let now = Moment::from_seconds(seconds(fixture["now"].as_str().expect("a time")));
    for template in fixture["templates"].as_array().expect("templates") {
        let name = template["name"].as_str().expect("a name");
        let token = |name: &str| {
            let token = template[name].as_str().expect("a token");
            (!token.is_empty()).then(|| (name.to_owned(), token.to_owned()))
        };
        let tokens = ["bos_token", "eos_token"]
            .into_iter()
            .filter_map(token)
            .collect();
        let source = template["template"].as_str().expect("a template");
        let chat = ChatTemplate::new(name, source, tokens);
        for (number, case) in template["cases"]
            .as_array()
            .expect("cases")
            .iter()
            .enumerate()
        {
            let got = chat.render(&input(case, now)).map_err(|e| e.to_string());
            let holds = match (&got, case["expected"].as_str()) {
                (Ok(got), Some(expected)) => got == expected,
                (Err(got), None) => {
                    let message = case["error"]["message"].as_str().expect("a message");
                    let raised = case["error"]["type"] == "TemplateError";
                    // Other errors are those of Python, in its words; only what the template says is the same here.
                    !raised || got.starts_with(&format!("the chat template says: {message}; "))
                }
                _ => false,
            };
            report.check(holds, || format!("{name}, case {number}: got {got:?}"));
        }
    }
    report
}
