//! Texts that are held to a schema: whatever is chosen among the allowed tokens, the text is JSON of that form.

use super::refused;
use fairy2i_gpu::files::Tokenizer;
use fairy2i_gpu::files::tokenizer::TokenBytes;
use fairy2i_gpu::generate::{Grammar, Vocabulary};
use fairy2i_gpu::random::SplitMix64;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const STORIES: &[u8] = include_bytes!("../data/stories260k.tokenizer.json");
const NOVELLA: &[u8] = include_bytes!("../data/novella.tokenizer.json");

/// A tokenizer, the number of embeddings, and its end token.
fn tokenizers() -> Vec<(Tokenizer, usize)> {
    let open = |bytes, vocab| {
        (
            Tokenizer::new("t", bytes, None, None, vocab).unwrap(),
            vocab,
        )
    };
    vec![open(STORIES, 512), open(NOVELLA, 4100)]
}

fn allowed(mask: &[u32], vocab: usize) -> Vec<u32> {
    assert_eq!(mask.len(), vocab.div_ceil(32));
    let bit = |id: &u32| mask[*id as usize / 32] >> (id % 32) & 1 == 1;
    (0..mask.len() as u32 * 32)
        .filter(bit)
        .inspect(|&id| assert!((id as usize) < vocab))
        .collect()
}

/// A text of tokens chosen at random; the end is chosen where it may be, and after `most` tokens what is shortest.
fn walk(
    vocabulary: &Vocabulary,
    words: &[TokenBytes],
    mut grammar: Grammar,
    random: &mut SplitMix64,
    most: usize,
) -> Vec<u8> {
    let mut text = Vec::new();
    for step in 0.. {
        assert!(
            step < most + 400,
            "it does not end: {:?}",
            String::from_utf8_lossy(&text)
        );
        let ids = allowed(&grammar.mask().unwrap(), vocabulary.vocab());
        if ids.contains(&2) {
            grammar.accept(2).unwrap();
            assert!(grammar.is_finished());
            assert_eq!(allowed(&grammar.mask().unwrap(), vocabulary.vocab()), [2]);
            break;
        }
        let spelled = |text: &str| {
            let is = |id: &&u32| words[**id as usize] == TokenBytes::Text(text.as_bytes().to_vec());
            ids.iter().find(is)
        };
        // All three are allowed at once within a string only.
        let in_string = ["}", ",", "\""].iter().all(|text| spelled(text).is_some());
        let order = if in_string {
            ["\""; 5]
        } else {
            ["}", "]", "\"", ":", ","]
        };
        let closing = order.iter().filter(|_| step > most);
        let short = closing.filter_map(|text| spelled(text)).next();
        let id = *short.unwrap_or(&ids[random.next_u64() as usize % ids.len()]);
        let TokenBytes::Text(bytes) = &words[id as usize] else {
            panic!("{id} is {:?}", words[id as usize]);
        };
        text.extend(bytes);
        grammar.accept(id).unwrap();
    }
    text
}

/// A schema, and whether a text that was held to it is of its form.
type Judged = (Value, fn(&Value) -> bool);

fn schemas() -> Vec<Judged> {
    let person = json!({
        "type": "object", "additionalProperties": false, "required": ["name", "age", "tags"],
        "properties": {
            "name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"enum": ["a", "b\"c", "ü"]}, "maxItems": 3},
            "ok": {"type": "boolean"},
        },
    });
    let nested = json!({
        "$defs": {"node": {"type": "object", "additionalProperties": false, "required": ["v"],
            "properties": {"v": {"anyOf": [{"type": "integer", "minimum": -99, "maximum": 99}, {"type": "null"}]}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}},
        "$ref": "#/$defs/node",
    });
    vec![
        (person, |v| {
            let tags = v["tags"].as_array().is_some_and(|tags| {
                tags.len() <= 3 && tags.iter().all(|t| t == "a" || t == "b\"c" || t == "ü")
            });
            v["age"].as_u64().is_some_and(|age| age <= 150)
                && tags
                && v["name"].as_str().is_some_and(|n| n.chars().count() <= 12)
        }),
        (nested, |v| {
            v.get("v").is_some_and(|v| v.is_null() || v.is_i64())
        }),
        (json!({"enum": [1, "two", null, {"x": []}]}), |v| {
            [json!(1), json!("two"), json!(null), json!({"x": []})].contains(v)
        }),
        (json!({"type": "object"}), Value::is_object),
    ]
}

/// The JSON of a text; `None` for a number that JSON has and floats have not.
fn parsed(text: &[u8]) -> Option<Value> {
    match serde_json::from_slice(text) {
        Ok(value) => Some(value),
        Err(e) if e.to_string().contains("number out of range") => None,
        Err(e) => panic!("{e}: {:?}", String::from_utf8_lossy(text)),
    }
}

#[test]
fn random_walks_are_json_of_the_schema() {
    let mut random = SplitMix64::new(7);
    for (tokenizer, vocab) in tokenizers() {
        let vocabulary = Vocabulary::new(&tokenizer, vocab, &[2]).unwrap();
        let words = tokenizer.token_bytes().unwrap();
        let mut judged = 0;
        for (schema, fits) in schemas() {
            let grammar = Grammar::json_schema(&vocabulary, &schema).unwrap();
            for _ in 0..4 {
                let text = walk(&vocabulary, &words, grammar.clone(), &mut random, 60);
                if let Some(value) = parsed(&text) {
                    assert!(fits(&value), "{value} for {schema}");
                    judged += 1;
                }
            }
        }
        assert!(judged > 12);
        let object = Grammar::json_object(&vocabulary).unwrap();
        let text = walk(&vocabulary, &words, object, &mut random, 40);
        assert!(parsed(&text).is_none_or(|value| value.is_object()));
    }
}

#[test]
fn tokens_are_the_bytes_of_their_text() {
    for (tokenizer, vocab) in tokenizers() {
        let words = tokenizer.token_bytes().unwrap();
        assert_eq!(words.len(), vocab);
        assert_eq!(words[2], TokenBytes::Special("</s>".into()));
        assert_eq!(
            words.last(),
            Some(if vocab == 4100 {
                &TokenBytes::Nothing
            } else {
                words.last().unwrap()
            })
        );
        for text in [
            "Once upon a time, \"é\" 你好\n\t🌍 {\"a\": [1, 2]}",
            "  two  spaces",
            "<0x41>",
        ] {
            let ids = tokenizer.encode(text, false).unwrap();
            let bytes: Vec<u8> = ids
                .iter()
                .flat_map(|&id| match &words[id as usize] {
                    TokenBytes::Text(bytes) => bytes.clone(),
                    other => panic!("{other:?}"),
                })
                .collect();
            let got = String::from_utf8(bytes).unwrap();
            assert!(got == text || got == format!(" {text}"), "{got:?}"); // one of them begins texts with a space
        }
    }
}

#[test]
fn refusals_name_what_is_refused() {
    let (tokenizer, vocab) = tokenizers().remove(0);
    let vocabulary = Vocabulary::new(&tokenizer, vocab, &[2]).unwrap();
    refused(
        Vocabulary::new(&tokenizer, vocab, &[]).map(|_| ()),
        &["end token"],
    );
    for (schema, named) in [
        (
            json!({"type": "object", "dependentSchemas": {"a": {}}}),
            "dependentSchemas",
        ),
        (json!({"type": "nothing"}), "nothing"),
        (json!({"$ref": "http://example.com/schema"}), "example.com"),
        (json!({"$ref": "#/$defs/absent"}), "absent"),
        (
            json!({"type": "string", "pattern": "("}),
            "JSON schema is refused",
        ),
        (json!(false), "JSON schema is refused"),
        (json!([1]), "no object"),
        (
            json!({"properties": {"a": {"properties": (0..600).map(|i| (i.to_string(), json!({}))).collect::<serde_json::Map<_, _>>()}}}),
            "600 properties",
        ),
        (json!({"description": "x".repeat(2 << 20)}), "longer"),
    ] {
        refused(
            Grammar::json_schema(&vocabulary, &schema).map(|_| ()),
            &[named],
        );
    }
    let mut grammar = Grammar::json_object(&vocabulary).unwrap();
    refused(grammar.accept(2), &["not complete"]);
}

/// Schemas come from strangers, too.
#[test]
fn hostile_schemas_end() {
    let (tokenizer, vocab) = tokenizers().remove(0);
    let vocabulary = Vocabulary::new(&tokenizer, vocab, &[2]).unwrap();
    let mut deep = json!({"type": "string"});
    for _ in 0..120 {
        deep = json!({"type": "array", "items": deep});
    }
    let wide = |n: usize| {
        let one = |i| (format!("k{i}"), json!({"type": "string"}));
        let all: serde_json::Map<String, Value> = (0..n).map(one).collect();
        json!({"type": "object", "properties": all})
    };
    let patterns = |n: usize| {
        let all: Vec<_> = (0..n)
            .map(|i| json!({"pattern": format!(".{{{i}}}a")}))
            .collect();
        json!({"type": "string", "allOf": all})
    };
    for schema in [
        deep,
        wide(512),
        wide(5000),
        json!({"type": "string", "pattern": "(a{1,1000}){1,1000}"}),
        json!({"type": "string", "pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"}),
        json!({"type": "string", "minLength": 1_000_000_000}),
        json!({"type": "array", "items": {"type": "integer"}, "minItems": 1_000_000_000}),
        json!({"$ref": "#"}),
        json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
        patterns(8),
        patterns(200),
        json!({"x-guidance": {"whitespace_pattern": "("}}),
        json!({"enum": (0..20_000).collect::<Vec<_>>()}),
    ] {
        let clock = Instant::now();
        if let Ok(mut grammar) = Grammar::json_schema(&vocabulary, &schema) {
            let _ = grammar.mask();
        }
        let shown: String = schema.to_string().chars().take(80).collect();
        assert!(
            clock.elapsed() < Duration::from_secs(20),
            "{shown}: {:?}",
            clock.elapsed()
        );
    }
}
