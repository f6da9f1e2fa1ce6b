//! What a data folder says about itself: `manifest.json`.

use super::packing::Packing;
use crate::error::{Error, Result};
use crate::files::config::object;
use crate::files::json::show;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Name of the manifest.
pub const MANIFEST: &str = "manifest.json";
/// What its field `format` says.
pub const FORMAT: &str = "fairy2i-gpu corpus 1";

/// Which tokenizer made the ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerId {
    /// SHA-256 of `tokenizer.json`, and of the added tokens if other files name more.
    pub sha256: String,
    /// All ids are below this.
    pub vocab: usize,
    /// Begin token, if there is one; it is masked but never written.
    pub bos: Option<u32>,
    /// End token, after every document.
    pub eos: u32,
}

/// A file that text was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// As it was given.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// What a document is in a .txt file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextUnit {
    /// The whole file.
    File,
    /// Every line that is not empty.
    Line,
}

/// Everything that decides what is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// [`FORMAT`].
    pub format: String,
    /// The tokenizer.
    pub tokenizer: TokenizerId,
    /// Tokens of a block.
    pub block: usize,
    /// What happens with the tokens that fill no block.
    pub packing: Packing,
    /// Bytes of an id: 2 or 4.
    pub id_bytes: usize,
    /// Blocks of a shard; the last one may have fewer.
    pub shard_blocks: u64,
    /// Field of JSON lines, column of Parquet files.
    pub field: String,
    /// What a document is in a .txt file.
    pub text_unit: TextUnit,
    /// Longest line, in bytes.
    pub longest_line: usize,
    /// Tokens to draw from all there are; `None`: all.
    pub sample_tokens: Option<u64>,
    /// What the drawing follows from.
    pub seed: u64,
    /// The files, in order.
    pub sources: Vec<SourceFile>,
}

impl Settings {
    /// Blocks to draw, if not all are wanted.
    pub fn sample_blocks(&self) -> Option<u64> {
        self.sample_tokens.map(|n| n / self.block.max(1) as u64)
    }

    /// Bytes of a block on disk.
    pub fn block_bytes(&self) -> u64 {
        (self.block * self.id_bytes) as u64
    }
}

/// What came out of the files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Bytes of text in all documents.
    pub text_bytes: u64,
    /// Documents.
    pub documents: u64,
    /// Tokens of all documents, eos included.
    pub tokens: u64,
    /// Tokens that filled no block.
    pub dropped: u64,
    /// Blocks before drawing.
    pub blocks: u64,
    /// Lines or rows that could not be used.
    pub bad: u64,
    /// Those by file.
    pub bad_by_file: BTreeMap<String, u64>,
}

/// A file of blocks: ids of `id_bytes` bytes, lowest first, nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its name in the folder.
    pub file: String,
    /// Blocks in it.
    pub blocks: u64,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

/// `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// How it was made.
    #[serde(flatten)]
    pub settings: Settings,
    /// Blocks in all shards.
    pub blocks: u64,
    /// What came out of the files.
    pub counts: Counts,
    /// The files of blocks, in order.
    pub shards: Vec<Shard>,
}

impl Manifest {
    /// Reads and checks a manifest; `file` is its place, for messages.
    ///
    /// # Errors
    /// [`Error::File`] for anything that does not fit together.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        let bad = |what: String| Error::file(file, what, "make the folder again with `data`");
        let fields = object(file, bytes)?;
        if fields.get("format").and_then(Value::as_str) != Some(FORMAT) {
            return Err(bad(format!("does not say \"format\": \"{FORMAT}\"")));
        }
        let read: Self =
            serde_json::from_value(Value::Object(fields)).map_err(|e| bad(show(&e.to_string())))?;
        read.check().map_err(bad)?;
        Ok(read)
    }

    fn check(&self) -> Result<(), String> {
        let settings = &self.settings;
        if settings.block == 0 || settings.block > 1 << 24 {
            return Err(format!("blocks of {} tokens cannot be", settings.block));
        }
        if !matches!(settings.id_bytes, 2 | 4) {
            return Err(format!("ids of {} bytes cannot be", settings.id_bytes));
        }
        if settings.shard_blocks == 0 {
            return Err("shards of no blocks cannot be".to_owned());
        }
        let mut blocks = 0u64;
        for (i, shard) in self.shards.iter().enumerate() {
            let full = shard.blocks == settings.shard_blocks;
            let last = i + 1 == self.shards.len() && shard.blocks < settings.shard_blocks;
            if !full && !last {
                return Err(format!("{} has {} blocks", show(&shard.file), shard.blocks));
            }
            blocks = blocks.saturating_add(shard.blocks);
        }
        if blocks != self.blocks {
            return Err(format!(
                "says {} blocks, its shards have {blocks}",
                self.blocks
            ));
        }
        Ok(())
    }
}
