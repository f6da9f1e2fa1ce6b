//! Which files of a repository a model needs.

use super::name::is_relative;
use super::wanted::shards;
use crate::error::{Error, Result};
use crate::files::shards::{INDEX, SINGLE};
use std::collections::BTreeSet;

/// Whether a file of this name is taken along: configurations, tokenizers, templates.
pub(super) fn is_small(name: &str) -> bool {
    let json = name.ends_with(".json");
    let config = json && name.starts_with("config");
    let tokenizer = name.starts_with("tokenizer");
    const OTHERS: [&str; 6] = [
        "generation_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        INDEX,
    ];
    let template = name.starts_with("chat_template") && (json || name.ends_with(".jinja"));
    let here = !name.contains('/') && is_relative(name);
    here && (config || tokenizer || template || OTHERS.contains(&name))
}

/// The files that hold the weights, of a repository with files of these names.
///
/// # Errors
/// [`Error::Usage`] when there are none that we read.
pub(super) fn weights(
    id: &str,
    names: &BTreeSet<&str>,
    index: Option<&[u8]>,
) -> Result<Vec<String>> {
    if names.contains(SINGLE) {
        return Ok(vec![SINGLE.to_owned()]);
    }
    if let Some(index) = index {
        return shards(index).ok_or_else(|| {
            let what = format!("{id}: {INDEX} is no list of shards");
            Error::usage(what, "tell the one who made the model")
        });
    }
    let has = |end: &str| names.iter().any(|name| name.ends_with(end));
    let hint = match (has(".gguf"), has(".bin")) {
        (true, _) => "name one of its files: hf:OWNER/NAME/FILE.gguf",
        (_, true) => "it has a PyTorch checkpoint; convert it with transformers' save_pretrained",
        _ => "choose another repository",
    };
    Err(Error::usage(
        format!("{id} has no {SINGLE} and no {INDEX}"),
        hint,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_needs_few_files() {
        for name in [
            "config.json",
            "configuration.json",
            "generation_config.json",
            "tokenizer.json",
            "tokenizer.model",
            "tokenizer_config.json",
            "chat_template.jinja",
            "model.safetensors.index.json",
        ] {
            assert!(is_small(name), "{name}");
        }
        for name in [
            "README.md",
            "modeling_llama.py",
            "pytorch_model.bin",
            "consolidated.00.pth",
            "original/tokenizer.model",
            "onnx/config.json",
            "tokenizer/../../x",
            "model.safetensors",
        ] {
            assert!(!is_small(name), "{name}");
        }
    }

    #[test]
    fn weights_are_one_file_or_those_of_the_index() {
        let of = |names: &[&str], index: Option<&str>| {
            weights(
                "a/b",
                &names.iter().copied().collect(),
                index.map(str::as_bytes),
            )
        };
        let one = of(&["model.safetensors", "consolidated.safetensors"], None);
        assert_eq!(one.expect("one file"), ["model.safetensors"]);
        let index = r#"{"weight_map": {"a": "x-2.safetensors", "b": "x-1.safetensors", "c": "x-2.safetensors"}}"#;
        let two = of(&[INDEX], Some(index)).expect("shards");
        assert_eq!(two, ["x-1.safetensors", "x-2.safetensors"]);
        for (index, names, said) in [
            (Some(r#"{"weight_map": {"a": "../x"}}"#), vec![], "no list"),
            (Some(r#"{"weight_map": {}}"#), vec![], "no list"),
            (Some("[]"), vec![], "no list"),
            (None, vec!["x-Q4_K.gguf"], "FILE.gguf"),
            (None, vec!["pytorch_model.bin"], "PyTorch"),
            (None, vec![], "another"),
        ] {
            let error = of(&names, index).expect_err("refused").to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
