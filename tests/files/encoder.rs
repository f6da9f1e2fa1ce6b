//! Tokens from remembered words are the tokens of the whole text.

use fairy2i_gpu::files::Tokenizer;
use fairy2i_gpu::files::corpus::encoder::{Cut, Encoder};
use fairy2i_gpu::files::corpus::words::Words;
use proptest::prelude::*;
use serde_json::{Value, json};

const NOVELLA: &[u8] = include_bytes!("../../src/builtin/model/tokenizer.json");
const STORIES: &[u8] = include_bytes!("../data/models/stories260k/tokenizer.json");
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

/// The tokenizers that are cut, with their names.
fn tokenizers() -> Vec<(&'static str, Value)> {
    let novella = parsed(NOVELLA);
    let mut llama3 = novella.clone();
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let split = json!({"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": false});
    llama3["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [split, bytes]});
    let mut digits = novella.clone();
    let each = json!({"type": "Digits", "individual_digits": true});
    digits["pre_tokenizer"] =
        json!({"type": "Sequence", "pretokenizers": [each, novella["pre_tokenizer"]]});
    vec![
        ("novella", novella),
        ("llama3", llama3),
        ("digits", digits),
        ("stories260k", parsed(STORIES)),
    ]
}

fn open(json: &Value) -> (Tokenizer, Cut) {
    let bytes = json.to_string();
    let tokenizer = Tokenizer::new("tokenizer.json", bytes.as_bytes(), None, None, 4096);
    (tokenizer.expect("a tokenizer"), Cut::of(json))
}

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(400)
    }
}

#[test]
fn words_join_to_the_text() {
    let pieces = prop_oneof![
        6 => "[a-zA-Z]{1,8}".boxed(),
        4 => Just(" ".to_owned()).boxed(),
        1 => Just("a b".to_owned()).boxed(),
        1 => "[ \n\t\r]{1,4}".boxed(),
        2 => "[!-/:-@]{1,3}".boxed(),
        1 => "[0-9]{1,5}".boxed(),
        1 => prop_oneof![Just("'s"), Just("'LL"), Just("“"), Just("é"), Just("\u{a0}"), Just("\u{3000}"),
            Just("</s>"), Just("<s>"), Just("\u{2581}"), Just("日本"), Just("e\u{301}")].prop_map(str::to_owned).boxed(),
    ];
    let texts = proptest::collection::vec(pieces, 0..40).prop_map(|p| p.concat());
    for (name, json) in tokenizers() {
        let (tokenizer, cut) = open(&json);
        assert_ne!(cut, Cut::Never, "{name}");
        let words = Words::new(500);
        let encoder = std::cell::RefCell::new(Encoder::new(&tokenizer, &cut, &words));
        let mut runner = proptest::test_runner::TestRunner::new(config());
        let result = runner.run(&texts, |text| {
            let mut ids = Vec::new();
            encoder
                .borrow_mut()
                .encode(&text, true, &mut ids)
                .expect("tokens");
            let whole = tokenizer.encode(&text, false).expect("tokens");
            prop_assert_eq!(&ids, &whole);
            // What comes in pieces that are cut before a space.
            let at = text.match_indices("a b").map(|(at, _)| at + 1).next();
            if let Some((a, b)) = at.map(|at| text.split_at(at)) {
                ids.clear();
                encoder
                    .borrow_mut()
                    .encode(a, true, &mut ids)
                    .expect("tokens");
                encoder
                    .borrow_mut()
                    .encode(b, false, &mut ids)
                    .expect("tokens");
                prop_assert_eq!(&ids, &whole);
            }
            Ok(())
        });
        assert!(result.is_ok(), "{name}: {result:?}");
    }
}

#[test]
fn what_is_not_known_is_not_cut() {
    let change = |path: &[&str], value: Value| {
        let mut json = parsed(NOVELLA);
        let mut at = &mut json;
        for key in path {
            at = match key.parse::<usize>() {
                Ok(i) => &mut at[i],
                Err(_) => &mut at[*key],
            };
        }
        *at = value;
        Cut::of(&json)
    };
    assert!(matches!(Cut::of(&parsed(NOVELLA)), Cut::Words(_)));
    for (path, value) in [
        (&["normalizer"][..], json!({"type": "NFKC"})),
        (&["model", "type"], json!("Unigram")),
        (&["model", "dropout"], json!(0.1)),
        (&["pre_tokenizer", "add_prefix_space"], json!(true)),
        (&["pre_tokenizer", "type"], json!("Whitespace")),
        (&["pre_tokenizer"], Value::Null),
        (&["added_tokens", "1", "content"], json!("a b")),
    ] {
        assert_eq!(change(path, value), Cut::Never, "{path:?}");
    }
    let mut stories = parsed(STORIES);
    stories["model"]["vocab"]["x\u{2581}y"] = json!(5);
    assert_eq!(Cut::of(&stories), Cut::Never);
    assert_eq!(Cut::of(&json!({})), Cut::Never);
}

#[test]
fn texts_that_cannot_be_cut_are_asked_for_as_a_whole() {
    let (tokenizer, _) = open(&parsed(NOVELLA));
    let words = Words::new(10);
    let mut encoder = Encoder::new(&tokenizer, &Cut::Never, &words);
    let text = "Once upon a time.\n".repeat(10_000);
    let mut ids = Vec::new();
    encoder.encode(&text, true, &mut ids).expect("tokens");
    assert_eq!(ids, tokenizer.encode(&text, false).expect("tokens"));
    encoder
        .encode(&"ä".repeat(70_000), true, &mut ids)
        .expect("tokens");
}
