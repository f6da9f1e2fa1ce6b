//! Conversations through a pipe, and answers of a given form.

use super::{good, json, run, run_with};
use serde_json::{Value, json};
use std::path::Path;

/// The conversation with these lines, which goes well: its answers, and what was said beside them.
fn chat(more: &[&str], lines: &str) -> (String, String) {
    let args = [&["chat", "--temp", "0", "-n", "8"], more].concat();
    let run = run_with(&args, lines.as_bytes());
    assert_eq!(run.code, 0, "{}", run.stderr);
    (run.stdout, run.stderr)
}

#[test]
fn each_line_is_answered_as_the_template_says() {
    let (answers, notes) = chat(&["--system", "Be brief."], "Who are you?\n\n  \n");
    assert!(
        notes.contains("no chat template") && notes.contains("plain"),
        "{notes}"
    );
    let prompt = "System: Be brief.\nUser: Who are you?\nAssistant:";
    let text = good(&["generate", "--temp", "0", "-n", "8", prompt]);
    assert_eq!(answers.trim(), text.trim());
    assert!(answers.ends_with('\n') && !answers.starts_with(' '));
}

/// The messages that a conversation saved.
fn saved(file: &Path) -> Vec<Value> {
    let bytes = std::fs::read(file).expect("a saved conversation");
    serde_json::from_slice(&bytes).expect("a list of messages")
}

#[test]
fn later_answers_begin_where_the_last_one_ended_and_are_the_same() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (first, second) = (folder.path().join("1.json"), folder.path().join("2.json"));
    let lines = format!(
        "Hello\n/save {}\nAnd then?\n/stats\n/save {}\n",
        first.display(),
        second.display()
    );
    let (answers, notes) = chat(&[], &lines);
    let messages = saved(&second);
    let roles: Vec<_> = messages
        .iter()
        .map(|m| m["role"].as_str().expect("a role"))
        .collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant"]);
    assert_eq!(saved(&first)[..], messages[..2]);
    let contents = [&messages[1], &messages[3]].map(|m| m["content"].as_str().expect("a text"));
    assert_eq!(answers, format!("{}\n{}\n", contents[0], contents[1]));
    let there = notes
        .split(" of them there already")
        .next()
        .expect("statistics");
    let there: usize = there
        .rsplit(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .expect("a number");
    assert!(there > 8, "{notes}");
    // The same from nothing.
    let (again, notes) = chat(
        &[],
        &format!("/load {}\nAnd then?\n/stats\n", first.display()),
    );
    assert_eq!(again, format!("{}\n", contents[1]));
    assert!(notes.contains(" 0 of them there already"), "{notes}");
}

#[test]
fn commands_change_the_conversation() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("c.json");
    let save = format!("/save {}\n", file.display());
    let (_, notes) = chat(
        &[],
        &format!("/help\n//slash\n/regenerate\n/system Be kind.\n{save}/exit\nnever\n"),
    );
    assert!(
        notes.contains("/regenerate") && notes.contains("3 messages"),
        "{notes}"
    );
    let messages = saved(&file);
    assert_eq!(
        messages[0],
        json!({"role": "system", "content": "Be kind."})
    );
    assert_eq!(messages[1], json!({"role": "user", "content": "/slash"}));
    // What is there stays as it is.
    let before = std::fs::read(&file).expect("the file");
    let run = run_with(
        &["chat", "--temp", "0", "-n", "2"],
        format!("Hi\n/reset\n{save}").as_bytes(),
    );
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("c.json"), "{}", run.stderr);
    assert_eq!(std::fs::read(&file).expect("the file"), before);
}

#[test]
fn what_cannot_be_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("no.json");
    std::fs::write(&file, "[{\"content\": 1}]").expect("writes");
    let load = format!("/load {}\n", file.display());
    for (lines, named) in [
        ("/nothing\n", "/nothing"),
        ("/regenerate\n", "nothing to answer"),
        ("/save\n", "without a file"),
        (&load, "role"),
        ("/load /nowhere/at/all\n", "/nowhere/at/all"),
        (&"long ".repeat(5000), "context"),
    ] {
        let run = run_with(&["chat", "--temp", "0", "-n", "2"], lines.as_bytes());
        assert_eq!(run.code, 2, "{lines:.40}: {}", run.stderr);
        assert!(run.stderr.contains(named), "{lines:.40}: {}", run.stderr);
    }
    let run = run(&["chat", "--temp", "-1"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
}

#[test]
fn a_text_is_held_to_a_schema() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("schema.json");
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["mood", "age", "friends"],
        "properties": {
            "mood": {"enum": ["glad", "sad"]}, "age": {"type": "integer", "minimum": 1, "maximum": 99},
            "friends": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
        },
    });
    std::fs::write(&file, schema.to_string()).expect("writes");
    let file = file.display().to_string();
    for seed in ["1", "2"] {
        let answer = json(&[
            "generate",
            "--json",
            "-n",
            "200",
            "-s",
            seed,
            "--json-schema",
            &file,
            "The captain:",
        ]);
        assert_eq!(answer["stats"]["finish"], "eos", "{answer}");
        let value: Value =
            serde_json::from_str(answer["text"].as_str().expect("a text")).expect("JSON");
        assert!(
            ["glad", "sad"].contains(&value["mood"].as_str().expect("a mood")),
            "{value}"
        );
        assert!(
            (1..100).contains(&value["age"].as_u64().expect("an age")),
            "{value}"
        );
    }
    std::fs::write(folder.path().join("bad.json"), "{\"type\": \"strange\"}").expect("writes");
    let bad = folder.path().join("bad.json").display().to_string();
    for (file, named) in [
        (bad.as_str(), "strange"),
        ("/nowhere.json", "/nowhere.json"),
    ] {
        let run = run(&["generate", "--json-schema", file, "Hi"]);
        assert_eq!(run.code, 2, "{}", run.stderr);
        assert!(run.stderr.contains(named), "{}", run.stderr);
    }
}
