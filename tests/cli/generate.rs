//! Text, tokens, and where they end.

use super::{command, good, json, run, run_with};
use serde_json::Value;
use std::process::Stdio;

const PROMPT: &str = "Once upon a time";
/// A model in full precision.
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/models/stories260k");
/// What it continues the prompt with in PyTorch.
const GREEDY: &str = ", there was a little girl named Lily. She";

fn ids(answer: &Value, field: &str) -> Vec<u64> {
    let list = answer[field].as_array().expect("a list of ids");
    list.iter().map(|v| v.as_u64().expect("an id")).collect()
}

#[test]
fn greedy_text_is_the_models() {
    let text = good(&["generate", "-m", MODEL, "--temp", "0", "-n", "12", PROMPT]);
    assert_eq!(text.trim_end_matches('\n'), GREEDY);
    let float = [
        "-m",
        MODEL,
        "--temp",
        "0",
        "-n",
        "12",
        "--activations",
        "float",
    ];
    let args = [&["generate"][..], &float, &["-p", PROMPT]].concat();
    assert_eq!(good(&args), text);
}

#[test]
fn json_has_prompt_ids_ids_text_and_stats() {
    let args = [
        "generate", "-m", MODEL, "--json", "--temp", "0", "-n", "12", PROMPT,
    ];
    let answer = json(&args);
    assert_eq!(ids(&answer, "prompt_ids"), [1, 403, 407, 261, 378]);
    assert_eq!(ids(&answer, "ids").len(), 12);
    assert_eq!(ids(&answer, "ids")[..5], [432, 383, 286, 261, 376]);
    assert_eq!(answer["text"], GREEDY);
    let stats = &answer["stats"];
    assert_eq!(stats["finish"], "length");
    assert_eq!(stats["prompt_tokens"], 5);
    assert_eq!(stats["generated_tokens"], 12);
    for field in [
        "load_seconds",
        "first_token_seconds",
        "startup_to_first_token_seconds",
        "prompt_tokens_per_second",
        "decode_tokens_per_second",
    ] {
        assert!(
            stats[field].as_f64().is_some_and(|v| v > 0.0),
            "{field}: {stats}"
        );
    }
    assert_eq!(
        ids(&json(&args), "ids"),
        ids(&answer, "ids"),
        "a second time"
    );
}

#[test]
fn a_seed_gives_the_same_text_and_others_give_others() {
    let text = |seed: &str| good(&["generate", "-n", "24", "-s", seed, PROMPT]);
    assert_eq!(text("7"), text("7"));
    assert!((8..12).any(|seed| text(&seed.to_string()) != text("7")));
}

#[test]
fn the_random_seed_is_told_and_repeats_the_text() {
    let first = json(&["generate", "--json", "-n", "12", PROMPT]);
    let seed = first["stats"]["seed"].to_string();
    let second = json(&["generate", "--json", "-n", "12", "-s", &seed, PROMPT]);
    assert_eq!(first["ids"], second["ids"]);
}

#[test]
fn sampling_options_are_llama_cpps() {
    let greedy = good(&["generate", "-m", MODEL, "-n", "12", "--top-k", "1", PROMPT]);
    assert_eq!(greedy.trim_end_matches('\n'), GREEDY);
    let args = [
        "--temp",
        "0",
        "--repetition-penalty",
        "1.3",
        "-n",
        "40",
        PROMPT,
    ];
    let penalized = good(&[&["generate"][..], &args].concat());
    assert!(penalized.starts_with(", there was"), "{penalized}");
    let plain = good(&["generate", "--temp", "0", "-n", "40", PROMPT]);
    assert_ne!(penalized, plain);
    for args in [
        &["--presence-penalty", "5"][..],
        &["--frequency-penalty", "3.5"],
        &["--logit-bias", "400+100", "--logit-bias", "401-inf"],
    ] {
        let greedy = ["generate", "--temp", "0", "-n", "40", PROMPT];
        assert_ne!(good(&[&greedy[..], args].concat()), plain, "{args:?}");
    }
    good(&[
        "generate", "-n", "4", "--min-p", "0", "--top-p", "1", "--top-k", "0", PROMPT,
    ]);
}

#[test]
fn stop_strings_end_the_text_wherever_tokens_are_cut() {
    let answer = |stop: &str| {
        json(&[
            "generate", "--json", "--temp", "0", "-n", "40", "--stop", stop, PROMPT,
        ])
    };
    // across tokens, inside a token, and at the very beginning
    for (stop, text) in [
        ("named Lily", ", there was a little girl "),
        ("irl na", ", there was a little g"),
        (", there", ""),
    ] {
        let answer = answer(stop);
        assert_eq!(answer["text"], text, "{stop}");
        assert_eq!(answer["stats"]["finish"], "stop", "{stop}");
    }
    assert_eq!(answer("no such text")["stats"]["finish"], "length");
    let two = ["--stop", "toys", "--stop", "She"];
    let text = good(&[&["generate", "--temp", "0", "-n", "40", PROMPT][..], &two].concat());
    assert_eq!(text, ", there was a little girl named Lily. \n");
}

#[test]
fn the_prompt_comes_from_an_argument_a_file_or_a_pipe() {
    let expected = good(&["generate", "--temp", "0", "-n", "8", PROMPT]);
    let args = ["generate", "--temp", "0", "-n", "8"];
    let line = format!("{PROMPT}\n");
    assert_eq!(run_with(&args, line.as_bytes()).stdout, expected);
    assert_eq!(
        run_with(&[&args[..], &["-"]].concat(), PROMPT.as_bytes()).stdout,
        expected
    );
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), &line).expect("written");
    let path = file.path().to_string_lossy();
    assert_eq!(good(&[&args[..], &["-f", &path]].concat()), expected);
}

#[test]
fn an_empty_prompt_is_the_begin_token() {
    let answer = json(&["generate", "--json", "--temp", "0", "-n", "4", ""]);
    assert_eq!(ids(&answer, "prompt_ids"), [1]);
    assert_eq!(ids(&answer, "ids").len(), 4);
}

#[test]
fn nothing_new_is_fine_and_the_context_can_be_filled() {
    let none = json(&["generate", "--json", "-n", "0", PROMPT]);
    assert_eq!(
        (none["text"].as_str(), ids(&none, "ids").len()),
        (Some(""), 0)
    );
    let args = [
        "generate", "--json", "--temp", "0", "-n", "-1", "-c", "12", PROMPT,
    ];
    assert_eq!(ids(&json(&args), "ids").len(), 7);
    let capped = json(&["generate", "--json", "--temp", "0", "-c", "9", PROMPT]);
    assert_eq!(ids(&capped, "ids").len(), 4);
}

#[test]
fn a_long_prompt_in_small_batches_changes_nothing() {
    let long = PROMPT.repeat(12);
    let ids = |args: &[&str]| {
        let usual = ["generate", "--json", "--temp", "0", "-n", "4", &long];
        json(&[&usual, args].concat())["ids"].clone()
    };
    let whole = ids(&[]);
    // llama.cpp's names: batches are processed in micro-batches
    for args in [
        &["-b", "7"][..],
        &["-ub", "7"],
        &["--batch-size", "7"],
        &["-ub=7", "-b", "64"],
        &["--ubatch-size", "7", "-b", "3"],
    ] {
        assert_eq!(ids(args), whole, "{args:?}");
    }
    for args in [["-b", "0"], ["-ub", "0"], ["-ub", "x"]] {
        let run = run(&[&["generate", &long], &args[..]].concat());
        assert_eq!(run.code, 2, "{}", run.stderr);
    }
}

#[test]
fn statistics_go_to_standard_error() {
    let run = run(&["generate", "--temp", "0", "-n", "4", PROMPT]);
    assert_eq!(run.stdout, ", there was a\n");
    for word in ["CPU", "tokens/s", "first token after", "4 generated"] {
        assert!(run.stderr.contains(word), "{word}: {}", run.stderr);
    }
}

#[test]
fn check_counts_what_it_compared() {
    let run = run(&["generate", "--check", "--temp", "0", "-n", "2", PROMPT]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let line = run.stderr.lines().last().expect("a line");
    assert!(
        line.starts_with("check: ") && line.contains("agree"),
        "{line}"
    );
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = command(&["generate", "-n", "200", "--temp", "0", PROMPT]);
    let mut child = child
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take()); // as `| head -0` does
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
