//! A document has the tokens that the tokenizer gives for the whole text, whatever the tokenizer, however long the
//! document, in whatever file.

use fairy2i_gpu::files::Source;
use fairy2i_gpu::files::corpus::encoder::{Cut, Encoder};
use fairy2i_gpu::files::corpus::records::{Reading, Records};
use fairy2i_gpu::files::corpus::words::Words;
use fairy2i_gpu::files::corpus::{TextTokenizer, TextUnit};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::cell::RefCell;

const NOVELLA: &[u8] = include_bytes!("../../src/builtin/model/tokenizer.json");
const STORIES: &[u8] = include_bytes!("../data/models/stories260k/tokenizer.json");
const GPT4: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

fn with(mut json: Value, changes: &[(&str, Value)]) -> Value {
    for (pointer, value) in changes {
        *json.pointer_mut(pointer).expect("the field is there") = value.clone();
    }
    json
}

/// Adds tokens of every kind.
fn with_added(mut json: Value, normalized: bool) -> Value {
    for (content, flag) in [
        ("<plain>", ""),
        ("<left>", "lstrip"),
        ("<right>", "rstrip"),
        ("<word>", "single_word"),
    ] {
        let mut token = json!({
            "id": 0, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": normalized, "special": false
        });
        if !flag.is_empty() {
            token[flag] = true.into();
        }
        json["added_tokens"]
            .as_array_mut()
            .expect("a list")
            .push(token);
    }
    json
}

/// The tokenizer of stories260k, with tokens of several marks as LLaMA 2 has them, so that marks merge.
fn llama2() -> Value {
    let mut json = parsed(STORIES);
    let mark = "\u{2581}";
    for n in [2, 4] {
        let half = mark.repeat(n / 2);
        let next = json["model"]["vocab"]
            .as_object()
            .expect("a vocabulary")
            .len();
        json["model"]["vocab"][mark.repeat(n)] = next.into();
        let merge = if json["model"]["merges"][0].is_array() {
            json!([half, half])
        } else {
            format!("{half} {half}").into()
        };
        json["model"]["merges"]
            .as_array_mut()
            .expect("merges")
            .push(merge);
    }
    json
}

fn metaspace(scheme: &str, split: bool) -> Value {
    let splitter = json!({
        "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": split
    });
    with(
        llama2(),
        &[("/normalizer", Value::Null), ("/pre_tokenizer", splitter)],
    )
}

fn byte_level(prefix: bool, regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": regex})
}

/// Novella's, with a pre-tokenizer that cuts by a pattern first.
fn split_by(pattern: &str, prefix: bool) -> Value {
    let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let both = json!({"type": "Sequence", "pretokenizers": [split, byte_level(prefix, false)]});
    with(parsed(NOVELLA), &[("/pre_tokenizer", both)])
}

/// One token for every letter, and some words.
fn unigram() -> Value {
    let mut vocab = vec![json!(["<unk>", 0.0])];
    let letters = "abcdefghijklmnopqrstuvwxyz\u{2581}.,"
        .chars()
        .map(String::from);
    let words = [
        "\u{2581}the",
        "ab",
        "\u{2581}\u{2581}",
        "e\u{2581}",
        "\u{2581}a",
    ]
    .map(str::to_owned);
    let scored = letters.chain(words).enumerate();
    vocab.extend(scored.map(|(i, token)| json!([token, -1.0 - i as f64 / 10.0])));
    let mut json = metaspace("always", true);
    json["model"] = json!({"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": false});
    json["post_processor"] = Value::Null;
    json["added_tokens"] = json!([]);
    json
}

fn word_piece() -> Value {
    let pieces = [
        "[UNK]", "a", "##a", "the", "##b", "b", ".", ",", "##the", "<", ">",
    ];
    let vocab: serde_json::Map<String, Value> = (0..)
        .zip(pieces)
        .map(|(i, p): (u32, _)| (p.to_owned(), i.into()))
        .collect();
    json!({
        "version": "1.0", "added_tokens": [], "post_processor": null, "decoder": null,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 20, "vocab": vocab}
    })
}

/// Every kind of tokenizer, and whether its texts are cut.
fn kinds() -> Vec<(String, Value, bool)> {
    let novella = || parsed(NOVELLA);
    let mut kinds = vec![
        ("byte level".to_owned(), novella(), true),
        (
            "byte level, GPT-4's pattern".to_owned(),
            split_by(GPT4, false),
            true,
        ),
        (
            "byte level with a prefix".to_owned(),
            with(novella(), &[("/pre_tokenizer", byte_level(true, true))]),
            false,
        ),
        (
            "GPT-4's pattern with a prefix".to_owned(),
            split_by(GPT4, true),
            false,
        ),
        ("lines".to_owned(), split_by(r"\n+", false), false),
        ("LLaMA 2".to_owned(), llama2(), true),
        (
            "no split".to_owned(),
            with(llama2(), &[("/normalizer", Value::Null)]),
            false,
        ),
        ("Unigram".to_owned(), unigram(), false),
        ("WordPiece".to_owned(), word_piece(), false),
        (
            "NFKC".to_owned(),
            with(novella(), &[("/normalizer", json!({"type": "NFKC"}))]),
            false,
        ),
    ];
    for scheme in ["first", "always", "never"] {
        for split in [false, true] {
            kinds.push((
                format!("Metaspace {scheme} {split}"),
                metaspace(scheme, split),
                true,
            ));
        }
    }
    let mut suffixed = llama2();
    suffixed["model"]["end_of_word_suffix"] = "</w>".into();
    kinds.push(("suffix".to_owned(), suffixed, false));
    let mut whole_words = llama2();
    whole_words["model"]["ignore_merges"] = true.into();
    kinds.push(("ignore_merges".to_owned(), whole_words, false));
    for (name, json, cut) in kinds.clone() {
        kinds.push((
            format!("{name}, added tokens"),
            with_added(json.clone(), false),
            cut,
        ));
        kinds.push((
            format!("{name}, normalized added tokens"),
            with_added(json, true),
            cut,
        ));
    }
    kinds
}

fn open(json: &Value) -> TextTokenizer {
    let config = json!({"eos_token_id": 2, "bos_token_id": 1});
    let files = [("tokenizer.json", json), ("config.json", &config)];
    let files = files.map(|(name, value)| (name.to_owned(), value.to_string().into_bytes()));
    TextTokenizer::open(&Source::memory("m", files)).expect("a tokenizer")
}

/// Texts of everything that a cut may stand beside.
fn texts(longest: usize) -> impl Strategy<Value = String> {
    let odd = prop_oneof![
        Just("'s"),
        Just("'LL"),
        Just("“"),
        Just("é"),
        Just("\u{a0}"),
        Just("\u{3000}"),
        Just("\u{2581}"),
        Just("\u{2581}\u{2581}"),
        Just("日本"),
        Just("e\u{301}"),
        Just("</w>"),
        Just("\u{feff}")
    ];
    let added = prop_oneof![
        Just("<plain>"),
        Just("<left>"),
        Just("<right>"),
        Just("<word>"),
        Just("</s>"),
        Just("<s>"),
        Just("<unk>")
    ];
    let piece = prop_oneof![
        6 => "[a-zA-Z]{1,8}".boxed(),
        2 => Just("the".to_owned()).boxed(),
        6 => Just(" ".to_owned()).boxed(),
        1 => "[ \n\t\r]{1,4}".boxed(),
        1 => Just("\n".to_owned()).boxed(),
        2 => "[!-/:-@]{1,3}".boxed(),
        1 => "[0-9]{1,5}".boxed(),
        1 => odd.prop_map(str::to_owned).boxed(),
        1 => added.prop_map(str::to_owned).boxed(),
    ];
    proptest::collection::vec(piece, 0..longest).prop_map(|pieces| pieces.concat())
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    })
}

#[test]
fn words_and_pieces_have_the_tokens_of_the_whole_text() {
    for (name, json, cut) in kinds() {
        let opened = open(&json);
        assert_eq!(opened.cut != Cut::Never, cut, "{name}");
        let words = Words::new(500);
        let encoder = RefCell::new(Encoder::new(&opened.tokenizer, &opened.cut, &words));
        let result = runner(150).run(&(texts(40), 0usize..200), |(text, from)| {
            let whole = opened.tokenizer.encode(&text, false).expect("tokens");
            let mut encoder = encoder.borrow_mut();
            let mut ids = Vec::new();
            encoder.encode(&text, true, &mut ids).expect("tokens");
            prop_assert_eq!(&ids, &whole);
            // In pieces, cut at every place after `from` bytes more.
            ids.clear();
            let (mut rest, mut begins) = (&*text, true);
            while let Some(at) = opened.cut.place(rest.as_bytes(), from / 4) {
                let (piece, next) = rest.split_at(at);
                encoder.encode(piece, begins, &mut ids).expect("tokens");
                (rest, begins) = (next, false);
            }
            encoder.encode(rest, begins, &mut ids).expect("tokens");
            prop_assert_eq!(&ids, &whole);
            Ok(())
        });
        assert!(result.is_ok(), "{name}: {result:?}");
    }
}

/// The tokens of the only document of a .txt file.
fn of_file(opened: &TextTokenizer, path: &std::path::Path) -> (Vec<u32>, usize) {
    let reading = Reading {
        field: "text".to_owned(),
        unit: TextUnit::File,
        longest: 1 << 24,
        cut: opened.cut.clone(),
        any_name: false,
    };
    let words = Words::new(5000);
    let mut encoder = Encoder::new(&opened.tokenizer, &opened.cut, &words);
    let mut records = Records::open(path, &reading).expect("it opens");
    let (mut ids, mut pieces) = (Vec::new(), 0);
    while let Some(record) = records.next().expect("it reads") {
        let begins = record.begins;
        let text = record.text("text").expect("text");
        encoder.encode(&text, begins, &mut ids).expect("tokens");
        pieces += 1;
    }
    (ids, pieces)
}

#[test]
fn long_documents_have_the_tokens_of_the_whole_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.txt");
    let story = "Once upon a time there was a cat.\nThe <plain>cat <left> sat</s> on<right> the <word> mat.\n\n";
    let text = story.repeat(7_000);
    assert!(text.len() > 600_000, "more than two pieces");
    std::fs::write(&path, format!("\u{feff}{text}")).expect("written");
    // Whole texts take the library long, so that one of each kind is enough.
    for (name, json, cut) in kinds() {
        if name.contains("added")
            && !name.starts_with("Metaspace first")
            && name != "LLaMA 2, added tokens"
        {
            continue;
        }
        let opened = open(&json);
        let whole = opened.tokenizer.encode(&text, false).expect("tokens");
        let (ids, pieces) = of_file(&opened, &path);
        assert!(ids == whole, "{name}: a .txt file has other tokens");
        assert_eq!(pieces > 1, cut, "{name}: {pieces} pieces");
        let words = Words::new(5000);
        let mut ids = Vec::new();
        let mut encoder = Encoder::new(&opened.tokenizer, &opened.cut, &words);
        encoder.encode(&text, true, &mut ids).expect("tokens");
        assert!(ids == whole, "{name}: a long text has other tokens");
    }
}
