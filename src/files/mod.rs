//! Formats: safetensors, Hugging Face folders, GGUF, the packed format, tokenizers, training data, records of a run. Bytes
//! in, bytes out; no devices.

#[cfg(feature = "templates")]
pub mod chat_template;
pub mod checkpoint;
pub mod config;
mod copy_from;
pub mod corpus;
pub mod digest;
pub mod export;
pub mod folder;
pub mod gguf;
mod halves;
mod head;
pub mod hub;
pub mod inputs;
mod json;
pub mod layers;
pub mod lock;
pub mod marker;
pub mod packed;
pub mod plan;
pub mod run;
pub mod safetensors;
mod shards;
pub mod source;
mod staged_file;
pub mod staging;
mod synced;
pub mod text;
pub mod tokenizer;

#[cfg(feature = "templates")]
pub use chat_template::ChatTemplate;
pub use copy_from::CopyFrom;
pub use inputs::Inputs;
#[cfg(feature = "cli")]
pub(crate) use json::show;
pub use source::{Bytes, Contents, ReadAt, Source};
pub use tokenizer::Tokenizer;

use crate::error::Result;
use crate::model::{Config, Recipe, Tensor, Weights};
use std::path::Path;

/// Name of the model's configuration.
pub const CONFIG: &str = "config.json";
/// Name of the file that may hold further end tokens.
pub const GENERATION: &str = "generation_config.json";

/// Longest configuration that is read; real ones have a few kilobytes.
const LONGEST_CONFIG: usize = 16 << 20;
/// Longest tokenizer that is read; real ones have up to 35 MB.
const LONGEST_TOKENIZER: usize = 256 << 20;

/// A model's files, opened and checked against each other.
pub struct ModelFolder {
    /// Shapes and constants.
    pub config: Config,
    /// How linear layers are packed; `None` for a full-precision checkpoint.
    pub recipe: Option<Recipe>,
    /// All tensors.
    pub weights: Box<dyn Weights + Send + Sync>,
    /// The tokenizer, if the folder has a `tokenizer.json`.
    pub tokenizer: Option<Tokenizer>,
    /// How chats are written, if there is a tokenizer.
    #[cfg(feature = "templates")]
    pub chat_template: Option<ChatTemplate>,
    /// What was ignored, one line each.
    pub notes: Vec<String>,
    /// All fields of `config.json`, for those who write the model again.
    pub fields: serde_json::Map<String, serde_json::Value>,
    /// The files.
    pub source: Source,
}

/// Opens the model at `path`: the folder of a Hugging Face checkpoint, full precision or packed, or a GGUF file.
///
/// # Errors
/// One line that names the file, field or tensors; see the crate's error type.
pub fn open(path: impl AsRef<Path>) -> Result<ModelFolder> {
    open_source(Source::at(path)?)
}

/// The files of the model at `path` by their names in a folder of Hugging Face, whether it is one or a GGUF file.
///
/// # Errors
/// As [`open`], but for configuration and tensors.
pub fn source(path: impl AsRef<Path>) -> Result<Source> {
    Ok(gguf::unfold(Source::at(path)?)?.0)
}

/// [`open`] for a model from anywhere, for instance one compiled into the program.
pub fn open_source(source: Source) -> Result<ModelFolder> {
    let (source, unfolded) = gguf::unfold(source)?;
    let bytes = source.read(CONFIG, LONGEST_CONFIG)?;
    let place = source.place(CONFIG);
    let fields = config::object(&place, &bytes)?;
    let generation = source.read_optional(GENERATION, LONGEST_CONFIG)?;
    let generation_place = source.place(GENERATION);
    let generation = generation
        .as_deref()
        .map(|bytes| (generation_place.as_str(), bytes));
    let (mut config, recipe) = config::parse(&place, &bytes, generation)?;
    let (weights, notes): (Box<dyn Weights + Send + Sync>, _) = match unfolded {
        Some(unfolded) => (unfolded.weights(&config, recipe)?, Vec::new()),
        None => {
            let (folder, notes) = folder::Folder::open(&source, &config, recipe.as_ref())?;
            config.tied = folder.tied();
            (Box::new(folder), notes)
        }
    };
    let tokenizer = Tokenizer::open(&source, config.bos, config.vocab)?;
    Ok(ModelFolder {
        config,
        recipe,
        weights,
        #[cfg(feature = "templates")]
        chat_template: chat_template(&source, tokenizer.as_ref())?,
        tokenizer,
        notes,
        fields,
        source,
    })
}

/// A model's shape and tokenizer without its weights, to train it from scratch.
///
/// # Errors
/// As [`open`], but for tensors.
pub fn open_shape(source: Source) -> Result<ModelFolder> {
    let (source, _) = gguf::unfold(source)?;
    let bytes = source.read(CONFIG, LONGEST_CONFIG)?;
    let place = source.place(CONFIG);
    let (config, recipe) = config::parse(&place, &bytes, None)?;
    let tokenizer = Tokenizer::open(&source, config.bos, config.vocab)?;
    Ok(ModelFolder {
        #[cfg(feature = "templates")]
        chat_template: chat_template(&source, tokenizer.as_ref())?,
        tokenizer,
        fields: config::object(&place, &bytes)?,
        config,
        recipe,
        weights: Box::new(Nothing),
        notes: Vec::new(),
        source,
    })
}

#[cfg(feature = "templates")]
fn chat_template(source: &Source, tokenizer: Option<&Tokenizer>) -> Result<Option<ChatTemplate>> {
    let open = |tokenizer| ChatTemplate::open(source, tokenizer);
    tokenizer.map(open).transpose()
}

/// No tensors.
struct Nothing;

impl Weights for Nothing {
    fn tensor(&self, _name: &str) -> Result<Option<Tensor<'_>>> {
        Ok(None)
    }

    fn recipe(&self) -> Recipe {
        Recipe::FULL
    }
}
