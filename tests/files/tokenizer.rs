//! Tokenizers: the ids and texts of Hugging Face, streaming, and files that are wrong.
//!
//! `data/novella.tokenizer.json` is an excerpt (the merges these texts use) of the tokenizer of `novella`;
//! `data/greedy.json` holds prompts, ids and texts by transformers.

use super::refused;
use super::small::{open, whole};
use fairy2i_gpu::files::Tokenizer;
use serde_json::{Value, json};

const NOVELLA: &[u8] = include_bytes!("../data/novella.tokenizer.json");
const STORIES: &[u8] = include_bytes!("../data/stories260k.tokenizer.json");
const GREEDY: &str = include_str!("../data/greedy.json");

fn novella() -> Tokenizer {
    Tokenizer::new("tokenizer.json", NOVELLA, None, Some(1), 4096).unwrap()
}

fn stories() -> Tokenizer {
    Tokenizer::new("tokenizer.json", STORIES, None, Some(1), 512).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().unwrap().iter();
    ids.map(|id| id.as_u64().unwrap() as u32).collect()
}

/// The text of `ids` given one by one after `prompt`.
fn streamed(tokenizer: &Tokenizer, prompt: &[u32], ids: &[u32]) -> String {
    let mut stream = tokenizer.stream(prompt).unwrap();
    let mut text: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    text += &stream.finish().unwrap();
    text
}

#[test]
fn ids_and_texts_are_those_of_transformers() {
    let all: Value = serde_json::from_str(GREEDY).unwrap();
    let mut seen = 0;
    for (model, cases) in all.as_object().unwrap() {
        let tokenizer = if model.starts_with("stories") {
            stories()
        } else {
            novella()
        };
        for case in cases.as_array().unwrap() {
            let (prompt, text) = (
                case["prompt"].as_str().unwrap(),
                case["text"].as_str().unwrap(),
            );
            let (start, all) = (ids(&case["prompt_ids"]), ids(&case["ids"]));
            assert_eq!(tokenizer.encode(prompt, true).unwrap(), start);
            assert_eq!(tokenizer.encode(prompt, false).unwrap(), start[1..]);
            assert_eq!(tokenizer.decode(&all).unwrap(), text, "{model}");
            for split in [0, 1, start.len(), all.len() / 2] {
                let (before, after) = all.split_at(split);
                let given = tokenizer.decode(before).unwrap();
                let given = given.trim_end_matches('\u{FFFD}');
                assert_eq!(
                    format!("{given}{}", streamed(&tokenizer, before, after)),
                    text
                );
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 20);
}

#[test]
fn streams_emit_whole_characters() {
    let text = " déjà 中文 🦀🦀 ok";
    for tokenizer in [novella(), stories()] {
        let ids = tokenizer.encode(text, true).unwrap();
        assert!(
            ids.len() > text.chars().count(),
            "the characters should take several tokens"
        );
        let mut stream = tokenizer.stream(&ids[..1]).unwrap();
        let mut pieces = Vec::new();
        for &id in &ids[1..] {
            let piece = stream.push(id).unwrap();
            assert!(!piece.contains('\u{FFFD}'), "{piece:?} in {pieces:?}");
            pieces.push(piece);
        }
        pieces.push(stream.finish().unwrap());
        assert_eq!(pieces.concat(), tokenizer.decode(&ids).unwrap());
        assert!(pieces.concat().ends_with(text));
        assert!(
            pieces.iter().filter(|p| !p.is_empty()).count() > 8,
            "{pieces:?}"
        );
    }
}

#[test]
fn broken_bytes_do_not_stop_a_stream() {
    for tokenizer in [novella(), stories()] {
        let crab = tokenizer.encode("🦀", false).unwrap();
        let last = *crab.last().unwrap();
        let ok = tokenizer.encode(" ok then", false).unwrap();
        // Unfinished at the end: comes with finish. Broken in the middle: the text goes on behind it.
        let cut = &crab[..crab.len() - 1];
        assert!(streamed(&tokenizer, &[1], cut).contains('\u{FFFD}'));
        let broken = [cut, &ok].concat();
        let text = streamed(&tokenizer, &[1], &broken);
        assert!(
            text.contains('\u{FFFD}') && text.ends_with("ok then"),
            "{text:?}"
        );
        // Endless rubbish is not held back for ever.
        let mut stream = tokenizer.stream(&[1]).unwrap();
        let emitted: String = (0..64).map(|_| stream.push(last).unwrap()).collect();
        assert!(!emitted.is_empty());
        // A whole character, then rubbish, then text.
        let mixed = [&crab[..], &[last, last], &ok].concat();
        let text = streamed(&tokenizer, &[1], &mixed);
        assert!(text.contains('🦀') && text.ends_with("ok then"), "{text:?}");
    }
}

#[test]
fn special_tokens_in_a_stream_are_silent_and_keep_the_space() {
    let tokenizer = stories();
    let words = tokenizer.encode("Once upon", false).unwrap();
    let ids = [&[1][..], &words, &[2, 1], &words].concat();
    let whole = tokenizer.decode(&ids).unwrap();
    assert_eq!(streamed(&tokenizer, &[], &ids), whole);
    assert_eq!(streamed(&tokenizer, &ids[..1], &ids[1..]), whole);
}

#[test]
fn settings_override_the_begin_token() {
    let with = |settings: &[u8]| {
        let settings = Some(("tokenizer_config.json", settings));
        Tokenizer::new("tokenizer.json", STORIES, settings, Some(1), 512)
    };
    let encode = |settings: &[u8], text: &str| with(settings).unwrap().encode(text, true).unwrap();
    assert_eq!(encode(br#"{"add_bos_token": true}"#, "a")[0], 1);
    assert_ne!(encode(br#"{"add_bos_token": false}"#, "a")[0], 1);
    assert_eq!(encode(b"{}", ""), [1]);
    refused(with(b"["), &["tokenizer_config.json"]);
    // A post-processor that adds none, and settings that ask for one.
    let mut json: Value = serde_json::from_slice(STORIES).unwrap();
    json["post_processor"] = Value::Null;
    let bytes = json.to_string();
    let plain = |settings: Option<(&str, &[u8])>| {
        let t = Tokenizer::new("t", bytes.as_bytes(), settings, Some(1), 512).unwrap();
        t.encode("a", true).unwrap()[0]
    };
    assert_ne!(plain(None), 1);
    assert_eq!(plain(Some(("s", br#"{"add_bos_token": true}"#))), 1);
}

#[test]
fn long_texts_are_never_cut() {
    let mut json: Value = serde_json::from_slice(STORIES).unwrap();
    json["truncation"] = json!({
        "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0
    });
    let tokenizer = Tokenizer::new("t", json.to_string().as_bytes(), None, Some(1), 512).unwrap();
    let text = "Once upon a time there was a girl";
    assert_eq!(
        tokenizer.encode(text, true).unwrap(),
        stories().encode(text, true).unwrap()
    );
}

#[test]
fn tokenizers_larger_than_the_embedding_are_refused() {
    let result = Tokenizer::new("m/tokenizer.json", STORIES, None, Some(1), 511);
    refused(result, &["m/tokenizer.json", "id 511", "511 embeddings"]);
    let mut json: Value = serde_json::from_slice(STORIES).unwrap();
    let extra = json!({
        "id": 4_000_000_000u32, "content": "<x>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true
    });
    json["added_tokens"].as_array_mut().unwrap().push(extra);
    let mut files = whole();
    files.insert("tokenizer.json".to_owned(), json.to_string().into_bytes());
    refused(open(&files), &["small/tokenizer.json"]);
}

/// Published folders have a padding token that the model got no embedding for.
#[test]
fn added_tokens_without_an_embedding_matter_to_texts_that_hold_them() {
    let pad = json!({
        "id": 512, "content": "<pad>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true
    });
    let mut added: Value = serde_json::from_slice(STORIES).unwrap();
    added["added_tokens"].as_array_mut().unwrap().push(pad);
    let mut both = added.clone();
    both["model"]["vocab"]["<pad>"] = json!(512);
    let mut several = added.clone();
    let mut more = several["added_tokens"][0].clone();
    (more["content"], more["id"]) = (json!("<image>"), json!(513));
    several["added_tokens"].as_array_mut().unwrap().push(more);
    for json in [&added, &both, &several] {
        let mut files = whole();
        files.insert("tokenizer.json".to_owned(), json.to_string().into_bytes());
        let tokenizer = open(&files).unwrap().tokenizer.unwrap();
        assert_eq!(tokenizer.ids(), 512);
        let text = "Once upon a time <pa";
        assert_eq!(
            tokenizer.encode(text, true).unwrap(),
            stories().encode(text, true).unwrap()
        );
        for text in ["<pad>", "Once upon<pad> a time"] {
            refused(tokenizer.encode(text, true), &["`<pad>`", "embedding"]);
            refused(tokenizer.encode(text, false), &["`<pad>`"]);
        }
    }
    // One that stands before every text is needed by all of them.
    added["post_processor"] = json!({
        "type": "TemplateProcessing",
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "single": [{"SpecialToken": {"id": "<pad>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"<pad>": {"id": "<pad>", "ids": [512], "tokens": ["<pad>"]}}
    });
    let mut files = whole();
    files.insert("tokenizer.json".to_owned(), added.to_string().into_bytes());
    let tokenizer = open(&files).unwrap().tokenizer.unwrap();
    assert_eq!(tokenizer.bos(), Some(1));
    assert!(tokenizer.encode("Once", false).is_ok());
    refused(
        tokenizer.encode("Once", true),
        &["tokenizer.json", "`<pad>`", "512"],
    );
    // Words of the vocabulary are another thing: any text may hold them.
    added["model"]["vocab"]["zzz"] = json!(513);
    files.insert("tokenizer.json".to_owned(), added.to_string().into_bytes());
    refused(open(&files), &["`zzz`", "513", "512 embeddings"]);
}

#[test]
fn crafted_tokenizers_are_errors_not_panics() {
    let mut cases: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"{".to_vec(),
        b"{}".to_vec(),
        b"\xFF\xFE".to_vec(),
        "[".repeat(100_000).into_bytes(),
    ];
    let json: Value = serde_json::from_slice(STORIES).unwrap();
    for (pointer, value) in [
        ("/model/merges", json!([["zz", "qq"]])),
        ("/model/merges", json!(["a b c"])),
        ("/model/vocab", json!({"a": -1})),
        ("/model/type", json!("Nonsense")),
        (
            "/normalizer",
            json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        ),
        (
            "/pre_tokenizer",
            json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false}),
        ),
        ("/added_tokens/0/id", json!(-5)),
        ("/version", json!("9.0")),
        ("/decoder", json!(5)),
        ("/normalizer", json!({"precompiled_charsmap": "A"})),
    ] {
        let mut bad = json.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        cases.push(bad.to_string().into_bytes());
    }
    for bytes in cases {
        let result = Tokenizer::new("tokenizer.json", &bytes, None, Some(1), 512);
        refused(result, &["tokenizer.json"]);
    }
}

#[test]
fn panics_of_the_library_are_caught() {
    let json: Value = serde_json::from_slice(STORIES).unwrap();
    // Each of these is read without complaint and makes version 0.23 panic over any text.
    let empty_table = json!({"type": "Precompiled", "precompiled_charsmap": "AAAAAA=="});
    for (pointer, value) in [
        ("/normalizer", empty_table),
        ("/post_processor/special_tokens", json!({})),
    ] {
        let mut bad = json.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        let bytes = bad.to_string();
        let result = Tokenizer::new("tokenizer.json", bytes.as_bytes(), None, Some(1), 512);
        let encoded = result.and_then(|tokenizer| tokenizer.encode("text", true));
        refused(encoded, &["tokenizer.json"]);
    }
}
