//! GGUF, the files of llama.cpp: read as if they were a folder of Hugging Face.
//!
//! The metadata become `config.json`, `generation_config.json`, `tokenizer.json` and `tokenizer_config.json`, which the
//! readers of folders check as they check all others; the tensors become a checkpoint in full precision under Hugging
//! Face's names. What llama.cpp's converters change is taken back: rows of q and k that lie in pairs, norms that hold the 1
//! which their family adds, experts that lie in one tensor. Files of two-bit complex models are packed models instead:
//! codes and scales are executed as they are.

pub mod blocks;
mod config;
mod container;
mod cursor;
mod describe;
mod fairy2i;
mod families;
mod keys;
mod names;
mod rope;
mod shards;
mod tokenizer;
mod types;
mod value;
mod weights;
mod writer;

pub use container::{Gguf, MAGIC, TensorInfo, parse};
pub use describe::{Dense as DenseFile, bundle, dense, dense_bytes, fairy2i as fairy2i_outline};
pub use types::{BlockType, named};
pub use value::{Array, Value};
pub use writer::{Outline, Writer, check_place};

use self::fairy2i::{Dialect, Phases};
use self::families::Family;
use self::keys::Keys;
use self::shards::Shards;
use self::weights::Dense;
use super::source::Source;
use super::tokenizer::{TOKENIZER, TOKENIZER_CONFIG};
use super::{CONFIG, GENERATION};
use crate::error::{Error, Result};
use crate::files::json::show;
use crate::model::{Config, Recipe, Weights};
use serde_json::json;
use std::path::{Path, PathBuf};

/// How the names of such files end.
pub(super) const EXTENSION: &str = ".gguf";

/// A GGUF file that was opened, before its tensors are checked against the configuration.
pub(super) struct Unfolded {
    file: String,
    shards: Shards,
    tensors: Tensors,
}

/// How the tensors of a file are called and lie.
enum Tensors {
    /// As llama.cpp has those of a family.
    Dense(Family),
    /// As the authors of Fairy2i have codes and scales.
    Packed(Dialect),
}

/// All files of the model whose first file is `path`: that one, or those that it was split into.
///
/// # Errors
/// [`Error::Usage`] for a file that is not the first.
pub fn parts(path: &Path) -> Result<Vec<PathBuf>> {
    let name = path.file_name().and_then(|name| name.to_str());
    let names = name.map(shards::siblings).transpose()?;
    let names = names.unwrap_or_default().into_iter();
    Ok(names.map(|name| path.with_file_name(name)).collect())
}

/// `source` with the files that a folder has, made of the GGUF file in it, and what is left of that file; a source that has
/// a configuration stays as it is.
///
/// # Errors
/// [`Error::Usage`] where it is not clear which GGUF file is meant; [`Error::File`] and [`Error::Config`] for one that
/// cannot be read.
pub(super) fn unfold(source: Source) -> Result<(Source, Option<Unfolded>)> {
    if source.has(CONFIG) {
        return Ok((source, None));
    }
    let Some(first) = first(&source)? else {
        return Ok((source, None));
    };
    let mut files = Vec::new();
    for name in shards::siblings(&first)? {
        files.push((source.place(&name), source.open(&name)?));
    }
    let file = source.place(&first);
    let shards = Shards::open(files)?;
    let gguf = parse(&file, shards.first())?;
    let keys = Keys::of(&file, &gguf.metadata, &shards)?;
    let (config, tensors) = match keys.architecture {
        fairy2i::ARCHITECTURE => {
            let (config, dialect) = fairy2i::config(&keys)?;
            (config, Tensors::Packed(dialect))
        }
        fairy2i::IFAIRY => {
            let config = fairy2i::ifairy_config(&keys)?;
            (config, Tensors::Packed(Dialect::IFairy))
        }
        _ => {
            let (config, family) = config::config(&keys)?;
            (config, Tensors::Dense(family))
        }
    };
    let mut made = vec![(CONFIG, text(&config.into()))];
    if let Some(tokenizer) = tokenizer::files(&keys)? {
        made.push((GENERATION, text(&json!({"eos_token_id": tokenizer.ends}))));
        made.push((TOKENIZER, tokenizer.tokenizer));
        made.push((TOKENIZER_CONFIG, tokenizer.settings));
    }
    let source = source.with(
        made.into_iter()
            .map(|(name, bytes)| (name.to_owned(), bytes.into())),
    );
    let unfolded = Unfolded {
        file,
        shards,
        tensors,
    };
    Ok((source, Some(unfolded)))
}

/// The text of a file that is made.
fn text(value: &serde_json::Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// The GGUF file of a source that has no configuration, or the first of those that it was split into. Files that were read
/// into memory, or named by their path, are the model; a folder may hold several, so that one has to be named.
fn first(source: &Source) -> Result<Option<String>> {
    if let Some(name) = source.named_file() {
        return Ok(Some(name.to_owned()));
    }
    let mut names = source.names();
    names.retain(|name| name.ends_with(EXTENSION));
    names.sort();
    let first = names.first().cloned();
    let Some(first) = first else {
        return Ok(None);
    };
    if source.is_folder() {
        return Err(Error::usage(
            format!("{} has no {CONFIG}, but GGUF files", show(source.name())),
            format!("name the file: {}", source.place(&first)),
        ));
    }
    let parts = shards::siblings(&first)?;
    match names.iter().find(|name| !parts.contains(name)) {
        None => Ok(Some(first)),
        Some(other) => Err(Error::usage(
            format!("{} and {} are two models", show(&first), show(other)),
            "give the files of one",
        )),
    }
}

impl Unfolded {
    /// The tensors, which must be exactly those of `config`, packed as `recipe` says if they are.
    ///
    /// # Errors
    /// [`Error::Tensors`] with every tensor that does not fit.
    pub(super) fn weights(
        self,
        config: &Config,
        recipe: Option<Recipe>,
    ) -> Result<Box<dyn Weights + Send + Sync>> {
        let (file, shards) = (&self.file, self.shards);
        Ok(match self.tensors {
            Tensors::Dense(family) => Box::new(Dense::open(file, shards, config, &family)?),
            Tensors::Packed(dialect) => {
                let recipe = recipe.unwrap_or(Recipe::FULL);
                Box::new(Phases::open(file, shards, config, recipe, dialect)?)
            }
        })
    }
}
