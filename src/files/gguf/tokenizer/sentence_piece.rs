//! SentencePiece's kind: pairs of pieces with the largest score are merged first, spaces are written as a sign of their
//! own, and what has no piece is spelled in bytes.

use super::super::keys::Keys;
use super::super::value::Value as Stored;
use super::table::{Kind, Table};
use super::{Parts, bad};
use crate::error::Result;
use serde_json::{Value, json};

/// What stands for a space.
const SPACE: &str = "\u{2581}";

/// The parts of `tokenizer.json`.
///
/// # Errors
/// [`crate::Error::File`] without scores.
pub(super) fn parts(keys: &Keys<'_>, table: &Table<'_>) -> Result<Parts> {
    let prefix = keys.any("tokenizer.ggml.add_space_prefix");
    let prefix = prefix.and_then(Stored::bool).unwrap_or(true);
    let mut normalizers = vec![replace(" ", SPACE)];
    let mut decoders = vec![
        replace(SPACE, " "),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": SPACE}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let unknown = keys.any("tokenizer.ggml.unknown_token_id");
    let unknown = unknown.and_then(Stored::unsigned);
    let unknown = unknown.and_then(|id| u32::try_from(id).ok());
    let unknown = unknown.or(table.first(Kind::Unknown));
    let bytes = table.iter().filter(|(_, _, kind)| *kind == Kind::Byte);
    Ok(Parts {
        normalizer: json!({"type": "Sequence", "normalizers": normalizers}),
        pre_tokenizer: Value::Null,
        decoder: json!({"type": "Sequence", "decoders": decoders}),
        model: json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": unknown.and_then(|id| table.text(id)),
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": true,
            "byte_fallback": bytes.count() == 256,
            "ignore_merges": false,
            "vocab": table.vocabulary(),
            "merges": merges(keys, table)?,
        }),
    })
}

fn replace(from: &str, to: &str) -> Value {
    json!({"type": "Replace", "pattern": {"String": from}, "content": to})
}

/// A way to make a piece of two others.
struct Merge<'a> {
    score: f32,
    id: u32,
    left: &'a str,
    right: &'a str,
}

/// All pairs of pieces that make a piece, those with the largest score first; where scores are equal, those of the
/// smaller id. Converters that give all pieces the same score keep the order of merges in the ids.
fn merges(keys: &Keys<'_>, table: &Table<'_>) -> Result<Vec<Value>> {
    let scores = table.scores.as_ref();
    let scores = scores.ok_or_else(|| bad(keys, "has pieces without scores".to_owned()))?;
    let mut merges = Vec::new();
    for (id, text, kind) in table.iter() {
        if !matches!(kind, Kind::Normal | Kind::UserDefined) {
            continue;
        }
        let score = scores.get(id as usize).copied().unwrap_or(0.0);
        for (at, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(at);
            if table.piece(left).is_some() && table.piece(right).is_some() {
                merges.push(Merge {
                    score,
                    id,
                    left,
                    right,
                });
            }
        }
    }
    // Within a piece the longest left half comes first, as in Hugging Face's conversion.
    merges.sort_by(|a, b| {
        let by_score = b.score.total_cmp(&a.score).then(a.id.cmp(&b.id));
        by_score.then(b.left.len().cmp(&a.left.len()))
    });
    let pairs = merges.into_iter();
    Ok(pairs
        .map(|merge| json!([merge.left, merge.right]))
        .collect())
}
