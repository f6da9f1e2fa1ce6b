//! Well-known model shapes, to be filled with synthetic weights.

use super::read_short;
use crate::error::{Error, Result};
use crate::files;
use crate::model::{Config, Rope, RopeScaling, Variant};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Shapes of models that people have: the `config.json` of each by its name.
const CONFIGS: &str = include_str!("shapes.json");

/// The shapes of iFairy, whose published configurations count complex values: (name, hidden, intermediate, heads).
const IFAIRY: [(&str, usize, usize, usize); 2] = [
    ("ifairy-700m", 1536, 4096, 16),
    // The paper has 5460: the next multiple of 64, which whole tiles of matrix units want.
    ("ifairy-1.3b", 2048, 5504, 32),
];

fn configs() -> BTreeMap<String, Value> {
    serde_json::from_str(CONFIGS).unwrap_or_default()
}

/// Names of the shapes that need no file.
pub(super) fn names() -> Vec<String> {
    let ifairy = IFAIRY.map(|(name, ..)| name.to_owned());
    configs().into_keys().chain(ifairy).collect()
}

/// The shape `name`: one of [`names`], or a path to a `config.json`.
pub(super) fn shape(name: &str) -> Result<Config> {
    if let Some(config) = configs().get(name) {
        return Ok(files::config::parse(name, config.to_string().as_bytes(), None)?.0);
    }
    if let Some(&(_, hidden, intermediate, heads)) = IFAIRY.iter().find(|s| s.0 == name) {
        return Ok(ifairy(hidden, intermediate, heads));
    }
    if Path::new(name).is_file() {
        return from_file(name);
    }
    Err(Error::usage(
        format!("there is no shape `{name}`"),
        format!(
            "choose among {}, or give the path of a config.json",
            names().join(", ")
        ),
    ))
}

fn ifairy(hidden: usize, intermediate: usize, heads: usize) -> Config {
    Config {
        architecture: "ComplexNetForCausalLM".to_owned(),
        vocab: 32_000,
        // Sizes are those of the real vectors: twice the complex ones.
        hidden: 2 * hidden,
        intermediate: 2 * intermediate,
        layers: 24,
        heads,
        kv_heads: heads,
        head_dim: 2 * hidden / heads,
        context: 2048,
        rope: Rope {
            theta: 1e4,
            scaling: RopeScaling::None,
        },
        norm_eps: 1e-5,
        tied: false,
        bos: Some(1),
        eos: vec![2],
        variant: Variant::default(),
    }
}

fn from_file(path: &str) -> Result<Config> {
    let bytes = read_short(Path::new(path), "give a config.json")?;
    Ok(files::config::parse(path, &bytes, None)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_the_sizes_in_their_names() {
        for (name, billions) in [
            ("smollm2-135m", 0.135),
            ("smollm2-360m", 0.362),
            ("smollm2-1.7b", 1.711),
            ("tinyllama-1.1b", 1.100),
            ("llama2-7b", 6.738),
            ("llama3.2-1b", 1.236),
            ("llama3.2-3b", 3.213),
            ("llama3-8b", 8.030),
            ("mistral-7b", 7.242),
            ("qwen2.5-0.5b", 0.494),
            ("qwen2.5-1.5b", 1.544),
            ("qwen2.5-3b", 3.086),
            ("qwen2.5-7b", 7.616),
            ("qwen3-0.6b", 0.596),
            ("qwen3-1.7b", 1.721),
            ("qwen3-4b", 4.022),
            ("qwen3-8b", 8.191),
            ("qwen3-30b-a3b", 30.532),
            ("gemma3-270m", 0.268),
            ("gemma3-1b", 1.000),
            ("gemma3-4b", 3.880),
            // Their names count complex weights of blocks; real numbers are counted here, embedding and head too.
            ("ifairy-700m", 1.556),
            ("ifairy-1.3b", 2.691),
        ] {
            let parameters = shape(name).expect("known").parameters() as f64 / 1e9;
            assert!((parameters - billions).abs() < 1e-3, "{name}: {parameters}");
        }
        assert_eq!(names().len(), 23);
        assert_eq!(shape("gpt-5").expect_err("unknown").exit_code(), 2);
    }
}
