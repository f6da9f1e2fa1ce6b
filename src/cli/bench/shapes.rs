//! Well-known model shapes, to be filled with synthetic weights.

use crate::error::{Error, Result};
use crate::files;
use crate::model::{Config, Rope, RopeScaling, Variant};
use std::path::Path;

/// Longest `config.json` that is read.
const LONGEST: u64 = 16 << 20;

/// Names of the shapes that need no file.
pub(super) const NAMES: &str = "llama2-7b, llama3-8b, tinyllama-1.1b, ifairy-700m, ifairy-1.3b";

/// The shape `name`: one of [`NAMES`], or a path to a `config.json`.
pub(super) fn shape(name: &str) -> Result<Config> {
    let llama = |vocab, hidden, intermediate, layers, kv_heads, context, theta| Config {
        architecture: "LlamaForCausalLM".to_owned(),
        vocab,
        hidden,
        intermediate,
        layers,
        heads: 32,
        kv_heads,
        head_dim: hidden / 32,
        context,
        rope: Rope {
            theta,
            scaling: RopeScaling::None,
        },
        norm_eps: 1e-5,
        tied: false,
        bos: Some(1),
        eos: vec![2],
        variant: Variant::default(),
    };
    // Sizes are those of the real vectors: twice the complex ones.
    let ifairy = |hidden: usize, intermediate: usize, heads: usize| Config {
        architecture: "ComplexNetForCausalLM".to_owned(),
        hidden: 2 * hidden,
        intermediate: 2 * intermediate,
        heads,
        head_dim: 2 * hidden / heads,
        ..llama(32_000, 2 * hidden, 2 * intermediate, 24, heads, 2048, 1e4)
    };
    Ok(match name {
        "llama2-7b" => llama(32_000, 4096, 11_008, 32, 32, 4096, 1e4),
        "llama3-8b" => llama(128_256, 4096, 14_336, 32, 8, 8192, 5e5),
        "tinyllama-1.1b" => llama(32_000, 2048, 5632, 22, 4, 2048, 1e4),
        "ifairy-700m" => ifairy(1536, 4096, 16),
        // The paper has 5460: the next multiple of 64, which whole tiles of matrix units want.
        "ifairy-1.3b" => ifairy(2048, 5504, 32),
        path if Path::new(path).is_file() => return from_file(path),
        _ => {
            return Err(Error::usage(
                format!("there is no shape `{name}`"),
                format!("choose one of {NAMES}, or the path of a config.json"),
            ));
        }
    })
}

fn from_file(path: &str) -> Result<Config> {
    let length = std::fs::metadata(path)
        .map_err(|e| Error::io(path, e))?
        .len();
    if length > LONGEST {
        return Err(Error::file(path, "is too long", "give a config.json"));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    Ok(files::config::parse(path, &bytes, None)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_the_sizes_in_their_names() {
        for (name, billions) in [
            ("llama2-7b", 6.738),
            ("llama3-8b", 8.030),
            ("tinyllama-1.1b", 1.100),
            // Their names count complex weights of blocks; real numbers are counted here, embedding and head too.
            ("ifairy-700m", 1.556),
            ("ifairy-1.3b", 2.691),
        ] {
            let parameters = shape(name).expect("known").parameters() as f64 / 1e9;
            assert!((parameters - billions).abs() < 1e-3, "{name}: {parameters}");
        }
        assert_eq!(shape("gpt-5").expect_err("unknown").exit_code(), 2);
    }
}
