//! The tokenizer of a GGUF file, as the files `tokenizer.json` and `tokenizer_config.json` that Hugging Face has: the
//! library that reads those then makes the ids.

mod pre;
mod sentence_piece;
mod table;

use super::fairy2i;
use super::keys::Keys;
use super::value::Value as Stored;
use crate::error::{Error, Result};
use crate::files::json::show;
use serde_json::{Map, Value, json};
use table::Table;

pub(super) use pre::way_of;

/// Tokens that end an answer in some family, whatever the file calls its end token: llama.cpp looks for them too.
const ENDS: [&str; 13] = [
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|END_OF_TURN_TOKEN|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<|EOT|>",
    "<EOT>",
    "_<EOT>",
    "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
];

/// The texts of the files.
pub(super) struct Files {
    /// `tokenizer.json`.
    pub(super) tokenizer: Vec<u8>,
    /// `tokenizer_config.json`.
    pub(super) settings: Vec<u8>,
    /// All tokens that end a text.
    pub(super) ends: Vec<u32>,
}

/// The files of the tokenizer; `None` where the file has none.
///
/// # Errors
/// [`Error::Config`] for kinds that are not supported, by name, and [`Error::File`] for tables that are no tokenizer.
pub(super) fn files(keys: &Keys<'_>) -> Result<Option<Files>> {
    let name = "tokenizer.ggml.model";
    let kind = match keys.any(name).map(Stored::text) {
        None | Some(Some("none" | "no_vocab")) => return Ok(None),
        Some(kind) => kind.unwrap_or_default(),
    };
    let table = Table::of(keys)?;
    let (parts, add_bos) = match kind {
        "gpt2" => {
            let pre = pre::pre(keys)?;
            (byte_pairs(keys, &table, pre)?, pre.add_bos)
        }
        "llama" => (sentence_piece::parts(keys, &table)?, true),
        other => {
            let what = format!("`{}` is not supported; gpt2 and llama are", show(other));
            return Err(keys.error_of(name, what));
        }
    };
    let stated = keys.any("tokenizer.ggml.add_bos_token");
    // The programs that files of complex models are made for put the begin token before texts themselves.
    let stated = stated.filter(|_| !(keys.architecture == fairy2i::ARCHITECTURE && add_bos));
    let add_bos = stated.and_then(Stored::bool).unwrap_or(add_bos);
    let bos = special(keys, &table, "bos", (kind == "llama").then_some(1));
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": table.added(),
        "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokenizer,
        "post_processor": bos.filter(|_| add_bos).map(|bos| begin(&table, bos)),
        "decoder": parts.decoder,
        "model": parts.model,
    });
    Ok(Some(Files {
        tokenizer: tokenizer.to_string().into_bytes(),
        settings: settings(keys, &table, kind, add_bos)
            .to_string()
            .into_bytes(),
        ends: ends(keys, &table),
    }))
}

/// The parts of `tokenizer.json` that depend on the kind.
struct Parts {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    model: Value,
}

/// GPT-2's kind: bytes as printable characters, words cut by regular expressions, merges in their order.
fn byte_pairs(keys: &Keys<'_>, table: &Table<'_>, pre: pre::Pre) -> Result<Parts> {
    let name = "tokenizer.ggml.merges";
    let merges = keys.any(name).and_then(Stored::array);
    let merges = merges.and_then(|merges| merges.texts());
    let merges = merges.ok_or_else(|| keys.error_of(name, "is no list of merges"))?;
    let pair = |merge: &str| {
        // A space at the very beginning belongs to the first half.
        let start = merge.chars().next().map_or(0, char::len_utf8);
        let at = start + merge.get(start..)?.find(' ')?;
        Some(json!([&merge[..at], &merge[at + 1..]]))
    };
    let merges: Vec<Value> = merges.filter_map(pair).collect();
    Ok(Parts {
        normalizer: pre.normalizer(),
        pre_tokenizer: pre.pre_tokenizer(),
        decoder: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
        model: json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": pre.ignore_merges,
            "vocab": table.vocabulary(),
            "merges": merges,
        }),
    })
}

/// The post-processor that puts the begin token before every text.
fn begin(table: &Table<'_>, bos: u32) -> Value {
    let token = table.text(bos).unwrap_or_default();
    let special = |kind: u8| json!({"SpecialToken": {"id": token, "type_id": kind}});
    let sequence = |id: &str, kind: u8| json!({"Sequence": {"id": id, "type_id": kind}});
    json!({
        "type": "TemplateProcessing",
        "single": [special(0), sequence("A", 0)],
        "pair": [special(0), sequence("A", 0), special(1), sequence("B", 1)],
        "special_tokens": {token: {"id": token, "ids": [bos], "tokens": [token]}},
    })
}

/// The id of a special token that the table has.
fn special(keys: &Keys<'_>, table: &Table<'_>, which: &str, usual: Option<u32>) -> Option<u32> {
    let id = keys.any(&format!("tokenizer.ggml.{which}_token_id"));
    let id = id.and_then(Stored::unsigned);
    let id = id.and_then(|id| u32::try_from(id).ok()).or(usual)?;
    table.text(id).map(|_| id)
}

/// Everything that ends a text: the stated tokens, and control tokens with the names of [`ENDS`].
fn ends(keys: &Keys<'_>, table: &Table<'_>) -> Vec<u32> {
    let usual = |which| (which == "eos" && table.scores.is_some()).then_some(2);
    let stated = ["eos", "eot", "eom"].into_iter();
    let stated = stated.filter_map(|which| special(keys, table, which, usual(which)));
    let named = ENDS.iter().filter_map(|name| table.control(name));
    let mut ends = Vec::new();
    for id in stated.chain(named) {
        if !ends.contains(&id) {
            ends.push(id);
        }
    }
    ends
}

/// `tokenizer_config.json`: special tokens by their names, and chat templates.
fn settings(keys: &Keys<'_>, table: &Table<'_>, kind: &str, add_bos: bool) -> Value {
    let mut map = Map::new();
    let mut put = |field: &str, value: Value| {
        map.insert(field.to_owned(), value);
    };
    put("tokenizer_class", "PreTrainedTokenizerFast".into());
    put("add_bos_token", add_bos.into());
    put("clean_up_tokenization_spaces", false.into());
    for (which, key, usual) in [
        ("bos", "bos", 1),
        ("eos", "eos", 2),
        ("unk", "unknown", 0),
        ("pad", "padding", u32::MAX),
    ] {
        let usual = (kind == "llama").then_some(usual);
        let token = special(keys, table, key, usual).and_then(|id| table.text(id));
        if let Some(token) = token {
            put(&format!("{which}_token"), token.into());
        }
    }
    if let Some(template) = templates(keys) {
        put("chat_template", template);
    }
    map.into()
}

/// The template of chats, or several by their names.
fn templates(keys: &Keys<'_>) -> Option<Value> {
    const KEY: &str = "tokenizer.chat_template";
    let default = keys.any(KEY).and_then(Stored::text);
    let names = keys.any("tokenizer.chat_templates").and_then(Stored::array);
    let names = names.and_then(|names| names.texts());
    let one = |name: &str, template: &str| json!({"name": name, "template": template});
    let named = names.into_iter().flatten().filter_map(|name| {
        let template = keys.any(&format!("{KEY}.{name}")).and_then(Stored::text)?;
        Some(one(name, template))
    });
    let named: Vec<_> = named.collect();
    match (default, named.is_empty()) {
        (default, true) => default.map(Value::from),
        (None, false) => Some(named.into()),
        (Some(default), false) => {
            let all = std::iter::once(one("default", default)).chain(named);
            Some(all.collect())
        }
    }
}

/// The error about a table.
fn bad(keys: &Keys<'_>, what: String) -> Error {
    Error::file(keys.file, what, "convert the model again")
}
