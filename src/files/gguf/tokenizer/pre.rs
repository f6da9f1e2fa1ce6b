//! How GPT-2's kind of tokenizers cuts texts into words before anything is merged: files name one of many ways.
//!
//! A way is a list of regular expressions; each cuts what those before it left, matches and the text between them alike.
//! They are those of the models' own tokenizers.

use super::super::keys::Keys;
use super::super::value::Value as Stored;
use crate::error::Result;
use crate::files::json::show;
use serde_json::{Value, json};

/// A way to cut texts.
#[derive(Clone, Copy)]
pub(super) struct Pre {
    /// Whether a word that is a token is taken whole, however it would be merged.
    pub(super) ignore_merges: bool,
    /// Whether texts begin with the begin token where the file does not say.
    pub(super) add_bos: bool,
    /// Whether characters are composed first.
    composed: bool,
    cuts: &'static [&'static str],
}

const fn cut(cuts: &'static [&'static str]) -> Pre {
    Pre {
        ignore_merges: false,
        add_bos: false,
        composed: false,
        cuts,
    }
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
const MINICPM5: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const SEED_CODER: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const BAILING: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
const HAN: &str = "[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+";
const HAN_AND_KANA: &str = "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+";
const ASCII_AND_WIDE_SIGNS: &str =
    "\\s?[!-/:-~\u{ff01}-\u{ff0f}\u{ff1a}-\u{ff5e}\u{2018}-\u{201f}\u{3000}-\u{3002}]+";

/// Ways, and the names that files have for them.
const WAYS: [(&[&str], Pre); 19] = [
    (
        &["default"],
        cut(&[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
    ),
    (
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "exaone4",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "granite-docling",
        ],
        cut(&[GPT2]),
    ),
    (
        &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        cut(&[r"\p{N}", GPT2]),
    ),
    (
        &["falcon"],
        cut(&[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"]),
    ),
    (
        &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
        ],
        Pre {
            ignore_merges: true,
            add_bos: true,
            ..cut(&[LLAMA3])
        },
    ),
    (
        &["dbrx", "smaug-bpe", "chatglm-bpe", "glm4"],
        cut(&[LLAMA3]),
    ),
    (
        &["qwen2", "deepseek-r1-qwen"],
        Pre {
            composed: true,
            ..cut(&[QWEN2])
        },
    ),
    (
        &[
            "stablelm2",
            "hunyuan",
            "megrez",
            "solar-open",
            "kormo",
            "grok-2",
        ],
        cut(&[QWEN2]),
    ),
    (
        &["qwen35"],
        Pre {
            composed: true,
            ..cut(&[QWEN35])
        },
    ),
    (
        &["tekken"],
        Pre {
            ignore_merges: true,
            add_bos: true,
            ..cut(&[TEKKEN])
        },
    ),
    (&["gpt-4o", "llama4", "kanana2"], cut(&[GPT4O])),
    (
        &["tiny_aya", "cohere2moe"],
        cut(&[r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O]),
    ),
    (
        &["deepseek-llm"],
        cut(&[
            r"[\r\n]",
            r"\s?[\p{Lu}\p{Ll}\p{Lt}]+",
            ASCII_AND_WIDE_SIGNS,
            r"\s+$",
            HAN,
            r"\p{N}+",
        ]),
    ),
    (
        &["deepseek-coder"],
        cut(&[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN, r"\p{N}"]),
    ),
    (
        &["deepseek-v3", "hunyuan-dense", "joyai-llm"],
        cut(&[r"\p{N}{1,3}", HAN_AND_KANA, DEEPSEEK3]),
    ),
    (
        &["minicpm5"],
        Pre {
            ignore_merges: true,
            ..cut(&[r"\p{N}{1,3}", MINICPM5])
        },
    ),
    (&["seed-coder"], cut(&[SEED_CODER])),
    (&["bailingmoe", "bailingmoe2", "llada-moe"], cut(&[BAILING])),
    (&["bloom", "poro-chat", "gpt3-finnish"], cut(&[BLOOM])),
];

/// The way that a file names; files without a name are older than the names, and have the default.
///
/// # Errors
/// [`crate::Error::Config`] for names that are not known.
pub(super) fn pre(keys: &Keys<'_>) -> Result<Pre> {
    const KEY: &str = "tokenizer.ggml.pre";
    let name = keys.any(KEY).map_or(Some("default"), Stored::text);
    let name = name.unwrap_or_default();
    let way = WAYS.iter().find(|(names, _)| names.contains(&name));
    way.map(|(_, pre)| *pre).ok_or_else(|| {
        let what = format!("`{}` is a pre-tokenizer that is not supported", show(name));
        keys.error_of(KEY, what)
    })
}

/// The name of the way in which `pre_tokenizer` of a `tokenizer.json` cuts texts, if files have one for it.
pub(in super::super) fn way_of(pre_tokenizer: &Value, ignore_merges: bool) -> Option<&'static str> {
    let mut found = Vec::new();
    let steps = match pre_tokenizer["pretokenizers"].as_array() {
        Some(steps) => steps.iter().collect(),
        None => vec![pre_tokenizer],
    };
    for step in steps {
        match step["type"].as_str()? {
            "Split" if step["behavior"] == "Isolated" && step["invert"] == false => {
                found.push(step["pattern"]["Regex"].as_str()?);
            }
            "Digits" if step["individual_digits"] == true => found.push(r"\p{N}"),
            "ByteLevel" if step["add_prefix_space"] == false => {
                if step["use_regex"] != false {
                    found.push(GPT2);
                }
            }
            _ => return None,
        }
    }
    let same = |way: &Pre| way.cuts == found && way.ignore_merges == ignore_merges;
    let way = WAYS.iter().find(|(_, way)| same(way));
    way.and_then(|(names, _)| names.first().copied())
}

impl Pre {
    /// `normalizer` of `tokenizer.json`.
    pub(super) fn normalizer(self) -> Value {
        match self.composed {
            true => json!({"type": "NFC"}),
            false => Value::Null,
        }
    }

    /// `pre_tokenizer` of `tokenizer.json`.
    pub(super) fn pre_tokenizer(self) -> Value {
        let split = |cut: &&str| json!({"type": "Split", "pattern": {"Regex": cut}, "behavior": "Isolated", "invert": false});
        let bytes = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false,
        });
        let steps: Vec<Value> = self.cuts.iter().map(split).chain([bytes]).collect();
        json!({"type": "Sequence", "pretokenizers": steps})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_understood_by_the_library() {
        for (names, way) in &WAYS {
            let value = way.pre_tokenizer();
            let read = serde_json::from_value::<tokenizers::PreTokenizerWrapper>(value);
            read.unwrap_or_else(|error| panic!("{names:?}: {error}"));
        }
    }

    #[test]
    fn names_are_given_once() {
        let mut names: Vec<_> = WAYS.iter().flat_map(|(names, _)| *names).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
