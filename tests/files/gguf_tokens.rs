//! Tokenizers in GGUF files: tables made from a `tokenizer.json` give the ids that it gives.

use super::gguf_make::Make;
use super::gguf_model::{keys, open_bytes, with_tensors};
use super::refused;
use fairy2i_gpu::files::{self, ModelFolder};
use proptest::prelude::*;
use serde_json::{Value, json};

const STORIES: &[u8] = include_bytes!("../data/stories260k.tokenizer.json");
const NOVELLA: &[u8] = include_bytes!("../data/novella.tokenizer.json");

/// The tables of a tokenizer of Hugging Face, as a converter writes them.
fn tables(json: &[u8], kind: &str, pre: &str) -> Make {
    let json: Value = serde_json::from_slice(json).unwrap();
    let words = json["model"]["vocab"].as_object().unwrap();
    let last = words.values().filter_map(Value::as_u64).max().unwrap();
    let mut tokens: Vec<String> = (0..=last).map(|id| format!("[PAD{id}]")).collect();
    for (word, id) in words {
        tokens[id.as_u64().unwrap() as usize] = word.clone();
    }
    let types = tokens.iter().enumerate().map(|(id, word)| match id {
        0 => 2,
        1 | 2 => 3,
        _ if word.starts_with("<0x") => 6,
        _ if word.starts_with("[PAD") => 5,
        _ => 1,
    });
    let merges = json["model"]["merges"].as_array().unwrap();
    let merges: Vec<[&str; 2]> = merges
        .iter()
        .map(|merge| [0, 1].map(|i| merge[i].as_str().unwrap()))
        .collect();
    let made = keys()
        .text("tokenizer.ggml.model", kind)
        .text("tokenizer.ggml.pre", pre)
        .texts("tokenizer.ggml.tokens", tokens.iter().map(String::as_str))
        .i32s("tokenizer.ggml.token_type", types)
        .u32("tokenizer.ggml.bos_token_id", 1)
        .u32("tokenizer.ggml.eos_token_id", 2)
        .bool("tokenizer.ggml.add_bos_token", true);
    if kind == "gpt2" {
        let merges: Vec<String> = merges.iter().map(|[a, b]| format!("{a} {b}")).collect();
        return made.texts("tokenizer.ggml.merges", merges.iter().map(String::as_str));
    }
    let score = |word: &String| {
        let at = merges.iter().position(|[a, b]| format!("{a}{b}") == *word);
        at.map_or(-1e6, |at| -(at as f32))
    };
    made.f32s("tokenizer.ggml.scores", tokens.iter().map(score))
}

/// The model of [`keys`] with as many embeddings as tokens.
fn tokenized(tables: Make, vocab: u64) -> fairy2i_gpu::Result<ModelFolder> {
    let dense = |name: &str| !["token_embd.weight", "output.weight"].contains(&name);
    let made = with_tensors(tables, dense);
    let embedding = vec![0.5; 12 * vocab as usize];
    open_bytes(
        made.floats("token_embd.weight", &[12, vocab], &embedding)
            .bytes(),
    )
}

const TEXTS: [&str; 8] = [
    "Once upon a time, there was a little girl named Lily.",
    "",
    " two  spaces   and a tab\t, then\n\nlines",
    "naïve Ünïcödé 日本語 🦀",
    "numbers 1234567 and it's \"quoted\"",
    "<s>inside</s> and <unk>",
    "<0x41>",
    "aaaaaa bbbb hehehehe",
];

#[track_caller]
fn same_ids(made: &ModelFolder, original: &[u8], vocab: usize) {
    let made = made.tokenizer.as_ref().unwrap();
    let original = files::Tokenizer::new("t", original, None, Some(1), vocab).unwrap();
    assert_eq!(made.bos(), original.bos());
    for text in TEXTS {
        for special in [false, true] {
            let ids = made.encode(text, special).unwrap();
            assert_eq!(ids, original.encode(text, special).unwrap(), "{text:?}");
            assert_eq!(made.decode(&ids).unwrap(), original.decode(&ids).unwrap());
        }
    }
}

#[test]
fn tables_of_sentence_piece_give_the_same_ids() {
    let made = tokenized(tables(STORIES, "llama", "default"), 512).unwrap();
    same_ids(&made, STORIES, 512);
    assert_eq!(made.config.eos, [2]);
    // Scores that say nothing leave the order of the ids, in which trainers write pieces.
    let flat = tables(STORIES, "llama", "default");
    let scores = |made: Make| made.f32s("tokenizer.ggml.scores", [-1000.0; 512]);
    let flat = scores(flat.without("tokenizer.ggml.scores"));
    same_ids(&tokenized(flat, 512).unwrap(), STORIES, 512);
}

#[test]
fn tables_of_byte_pairs_give_the_same_ids() {
    let made = tokenized(tables(NOVELLA, "gpt2", "gpt-2"), 4096).unwrap();
    same_ids(&made, NOVELLA, 4096);
}

#[test]
fn the_space_before_a_text_is_added_where_the_file_says_so() {
    let tables = tables(STORIES, "llama", "default").bool("tokenizer.ggml.add_space_prefix", false);
    let made = tokenized(tables, 512).unwrap();
    let tokenizer = made.tokenizer.unwrap();
    let ids = tokenizer.encode("he  said", false).unwrap();
    assert_eq!(tokenizer.token(ids[0]).as_deref(), Some("he"));
    assert_eq!(tokenizer.decode(&ids).unwrap(), "he  said");
}

#[test]
fn special_tokens_templates_and_ends_are_carried_over() {
    let template = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}";
    let tables = tables(STORIES, "llama", "default")
        .text("tokenizer.chat_template", template)
        .u32("tokenizer.ggml.eot_token_id", 7);
    let made = tokenized(tables, 512).unwrap();
    assert_eq!(made.config.eos, [2, 7]);
    let input = files::chat_template::ChatInput {
        messages: vec![json!({"role": "user", "content": "hi"})],
        ..Default::default()
    };
    let chat = made.chat_template.as_ref().unwrap();
    assert_eq!(chat.render(&input).unwrap(), "hi</s>");
    // What is written from the model has the files of a folder.
    let carried = made.carried().unwrap();
    for name in [
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
    ] {
        assert!(carried.has(name), "{name}");
    }
}

#[test]
fn tokenizers_that_are_not_understood_are_named() {
    let with = |made| tokenized(made, 512);
    refused(
        with(tables(STORIES, "llama", "x").without("tokenizer.ggml.scores")),
        &["scores"],
    );
    refused(
        with(tables(STORIES, "bert", "x")),
        &["tokenizer.ggml.model", "bert"],
    );
    let pre = "no-such-cut";
    refused(
        tokenized(tables(NOVELLA, "gpt2", pre), 4096),
        &["tokenizer.ggml.pre", pre],
    );
    let twice = keys()
        .text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", ["a", "b", "a"])
        .f32s("tokenizer.ggml.scores", [0.0; 3]);
    refused(with(twice), &["`a`", "0 and 2"]);
    let short = keys()
        .text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", ["a", "b"])
        .f32s("tokenizer.ggml.scores", [0.0]);
    refused(with(short), &["tokenizer.ggml.scores"]);
    refused(
        tokenized(tables(STORIES, "llama", "default"), 500),
        &["embeddings"],
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Small models with some bytes of their metadata changed: refused in one line, or models all of whose tensors are read.
    #[test]
    fn mutated_models_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        which in 0..4usize,
    ) {
        // Each with where its blocks begin.
        let seeds: [(&[u8], usize); 4] = [
            (include_bytes!("../../tools/fuzz/seeds/gguf/byte_pairs"), 1400),
            (include_bytes!("../../tools/fuzz/seeds/gguf/sentence_piece"), 1400),
            (include_bytes!("../../tools/fuzz/seeds/gguf/bundles"), 2300),
            (include_bytes!("../../tools/fuzz/seeds/gguf/tiles"), 1900),
        ];
        let (seed, blocks) = seeds[which];
        let mut bytes = seed.to_vec();
        for (at, value) in changes {
            bytes[at.index(blocks)] = value;
        }
        match open_bytes(bytes) {
            Err(error) => {
                prop_assert_eq!(error.exit_code(), 2);
                prop_assert!(!error.to_string().contains('\n'));
            }
            Ok(opened) => {
                for planned in files::plan::plan(&opened.config, opened.recipe.as_ref()) {
                    let tensor = opened.weights.tensor(&planned.name).unwrap().unwrap();
                    prop_assert_eq!(tensor.shape, planned.shape);
                }
            }
        }
    }
}
