//! The tables of a tokenizer, from `tokenizer.json`.

use super::super::tokenizer::way_of;
use super::super::writer::Outline;
use super::not_written;
use crate::error::Result;
use crate::files::config::object;
use crate::files::tokenizer::{TOKENIZER, TOKENIZER_CONFIG};
use crate::files::{LONGEST_CONFIG, LONGEST_TOKENIZER, Source};
use crate::model::Config;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};

/// Kinds of tokens, by their numbers in files.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// Puts the tokenizer of `source`, if it has one, and the special tokens of `config`.
///
/// # Errors
/// [`crate::Error::Usage`] for tokenizers of other kinds than llama.cpp has.
pub(super) fn tokenizer(outline: &mut Outline, source: &Source, config: &Config) -> Result<()> {
    let Some(bytes) = source.read_optional(TOKENIZER, LONGEST_TOKENIZER)? else {
        outline.text("tokenizer.ggml.model", "none");
        return Ok(());
    };
    let json = Value::from(object(&source.place(TOKENIZER), &bytes)?);
    let settings = source.read_optional(TOKENIZER_CONFIG, LONGEST_CONFIG)?;
    let settings = settings.map(|bytes| object(&source.place(TOKENIZER_CONFIG), &bytes));
    let settings = settings.transpose()?.unwrap_or_default();
    let model = &json["model"];
    let sentence_piece = model["byte_fallback"] == true;
    let merges = merges(model);
    let (Some(merges), "BPE") = (merges, model["type"].as_str().unwrap_or("BPE")) else {
        return Err(not_written("a tokenizer without merges"));
    };
    let mut tokens = tokens(&json, config.vocab);
    if let Some(unknown) = model["unk_token"].as_str() {
        let unknown = tokens.values_mut().find(|token| token.0 == unknown);
        unknown.into_iter().for_each(|token| token.1 = UNKNOWN);
    }
    if sentence_piece {
        for token in tokens.values_mut() {
            let byte = token.0.len() == 6 && token.0.starts_with("<0x") && token.0.ends_with('>');
            token.1 = if byte { BYTE } else { token.1 };
        }
        outline.text("tokenizer.ggml.model", "llama");
        outline.text("tokenizer.ggml.pre", "default");
        let pre = &json["pre_tokenizer"];
        let metaspace = pre["type"] == "Metaspace" && pre["prepend_scheme"] != "never";
        let prefix = metaspace || json["normalizer"].to_string().contains("\"Prepend\"");
        outline.switch("tokenizer.ggml.add_space_prefix", prefix);
        outline.floats(
            "tokenizer.ggml.scores",
            scores(&tokens, &merges).into_iter(),
        );
    } else {
        let way = way_of(&json["pre_tokenizer"], model["ignore_merges"] == true);
        let way = way.ok_or_else(|| not_written("the `pre_tokenizer` of this tokenizer"))?;
        outline.text("tokenizer.ggml.model", "gpt2");
        outline.text("tokenizer.ggml.pre", way);
        let merges: Vec<String> = merges.iter().map(|[a, b]| format!("{a} {b}")).collect();
        outline.texts("tokenizer.ggml.merges", merges.iter().map(String::as_str));
    }
    outline.texts(
        "tokenizer.ggml.tokens",
        tokens.values().map(|t| t.0.as_str()),
    );
    outline.integers("tokenizer.ggml.token_type", tokens.values().map(|t| t.1));
    special(outline, source, &json, &settings, config)
}

/// The pairs that are merged, in their order.
fn merges(model: &Value) -> Option<Vec<[String; 2]>> {
    let merges = model["merges"].as_array()?.iter();
    let pair = |merge: &Value| -> Option<[String; 2]> {
        let (a, b) = match merge {
            Value::String(both) => both.split_once(' ')?,
            pair => (pair[0].as_str()?, pair[1].as_str()?),
        };
        Some([a.to_owned(), b.to_owned()])
    };
    merges.map(pair).collect()
}

/// Texts and kinds of all `vocab` tokens by their ids; embeddings without a token get one that no text has.
fn tokens(json: &Value, vocab: usize) -> BTreeMap<u32, (String, i32)> {
    let mut tokens = BTreeMap::new();
    for id in 0..vocab as u32 {
        tokens.insert(id, (format!("[PAD{id}]"), UNUSED));
    }
    let mut put = |id: &Value, text: &str, kind: i32| {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        if let Some(token) = id.and_then(|id| tokens.get_mut(&id)) {
            *token = (text.to_owned(), kind);
        }
    };
    for (text, id) in json["model"]["vocab"].as_object().into_iter().flatten() {
        put(id, text, NORMAL);
    }
    for token in json["added_tokens"].as_array().into_iter().flatten() {
        let special = token["special"] == true;
        let kind = if special { CONTROL } else { USER_DEFINED };
        put(
            &token["id"],
            token["content"].as_str().unwrap_or_default(),
            kind,
        );
    }
    tokens
}

/// Scores that merge pieces in the order of `merges`; pieces that no merge makes come last.
fn scores(tokens: &BTreeMap<u32, (String, i32)>, merges: &[[String; 2]]) -> Vec<f32> {
    let mut ranks: HashMap<String, usize> = HashMap::new();
    for (rank, [a, b]) in merges.iter().enumerate() {
        ranks.entry(format!("{a}{b}")).or_insert(rank);
    }
    let last = merges.len();
    let score = |token: &(String, i32)| match token.1 {
        NORMAL => -(ranks.get(&token.0).copied().unwrap_or(last) as f32),
        _ => 0.0,
    };
    tokens.values().map(score).collect()
}

/// Begin, end and padding tokens, and the template of chats.
fn special(
    outline: &mut Outline,
    source: &Source,
    json: &Value,
    settings: &Map<String, Value>,
    config: &Config,
) -> Result<()> {
    let key = |name: &str| format!("tokenizer.ggml.{name}_token_id");
    let mut ends = config.eos.iter();
    for (name, id) in [
        ("bos", config.bos),
        ("eos", ends.next().copied()),
        ("eot", ends.next().copied()),
        ("eom", ends.next().copied()),
    ] {
        if let Some(id) = id {
            outline.unsigned(&key(name), id);
        }
    }
    let begins = json["post_processor"].to_string().contains("SpecialToken");
    let stated = settings.get("add_bos_token").and_then(Value::as_bool);
    let add = config.bos.is_some() && stated.unwrap_or(begins);
    outline.switch("tokenizer.ggml.add_bos_token", add);
    const TEMPLATE: &str = "chat_template.jinja";
    let file = source.read_optional(TEMPLATE, LONGEST_CONFIG)?;
    let file = file.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    let stated = settings.get("chat_template").and_then(Value::as_str);
    if let Some(template) = file.as_deref().or(stated) {
        outline.text("tokenizer.chat_template", template);
    }
    Ok(())
}
