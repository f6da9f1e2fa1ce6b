//! Reading a data folder: blocks by number, from mapped files.

use super::manifest::{MANIFEST, Manifest};
use super::packing::labels;
use crate::error::{Error, Result};
use crate::files::digest::hash;
use crate::files::{Bytes, Source};
use std::path::Path;

/// Longest manifest that is read.
const LONGEST: usize = 64 << 20;
const HINT: &str = "make the folder again with `data`";

/// One block, ready for training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Token ids.
    pub ids: Vec<u32>,
    /// The same, but [`IGNORED`](super::IGNORED) where no loss is taken. Not shifted: what the model says at
    /// position i is judged by label i + 1.
    pub labels: Vec<i32>,
}

/// An opened data folder.
pub struct Corpus {
    manifest: Manifest,
    source: Source,
    shards: Vec<Bytes>,
}

impl Corpus {
    /// Opens the folder `path`. Sizes are checked; contents only by [`Corpus::verify`].
    ///
    /// # Errors
    /// One line that names the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_source(Source::folder(path)?)
    }

    /// [`Corpus::open`] for files from anywhere.
    pub fn open_source(source: Source) -> Result<Self> {
        let bytes = source.read(MANIFEST, LONGEST)?;
        let manifest = Manifest::parse(&source.place(MANIFEST), &bytes)?;
        let mut shards = Vec::with_capacity(manifest.shards.len());
        for shard in &manifest.shards {
            let bytes = source.open(&shard.file)?;
            let expected = shard.blocks.checked_mul(manifest.settings.block_bytes());
            if expected != Some(bytes.len() as u64) {
                let (is, blocks) = (bytes.len(), shard.blocks);
                let what = format!("has {is} bytes, but should hold {blocks} blocks");
                return Err(Error::file(source.place(&shard.file), what, HINT));
            }
            shards.push(bytes);
        }
        Ok(Self {
            manifest,
            source,
            shards,
        })
    }

    /// What the folder says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Blocks in it.
    pub fn blocks(&self) -> u64 {
        self.manifest.blocks
    }

    /// Tokens of a block.
    pub fn block_len(&self) -> usize {
        self.manifest.settings.block
    }

    /// Block `index`, below [`Corpus::blocks`].
    ///
    /// # Errors
    /// [`Error::Usage`] for an index beyond the last, [`Error::File`] when an id is none of the tokenizer's.
    pub fn block(&self, index: u64) -> Result<Block> {
        let settings = &self.manifest.settings;
        let (shard, at) = (index / settings.shard_blocks, index % settings.shard_blocks);
        let size = settings.block_bytes() as usize;
        let bytes = self.shards.get(shard as usize).and_then(|shard| {
            let from = usize::try_from(at).ok()?.checked_mul(size)?;
            shard.get(from..from.checked_add(size)?)
        });
        let Some(bytes) = bytes else {
            let what = format!("there is no block {index}, only {}", self.blocks());
            return Err(Error::usage(what, "start again from the first"));
        };
        let ids: Vec<u32> = match settings.id_bytes {
            2 => {
                let (pairs, _) = bytes.as_chunks();
                pairs
                    .iter()
                    .map(|&b| u16::from_le_bytes(b).into())
                    .collect()
            }
            _ => {
                let (quads, _) = bytes.as_chunks();
                quads.iter().map(|&b| u32::from_le_bytes(b)).collect()
            }
        };
        let tokenizer = &settings.tokenizer;
        if let Some(id) = ids.iter().find(|&&id| id as usize >= tokenizer.vocab) {
            let place = self
                .source
                .place(&self.manifest.shards[shard as usize].file);
            let what = format!(
                "block {at} has id {id}, the tokenizer only {}",
                tokenizer.vocab
            );
            return Err(Error::file(place, what, HINT));
        }
        Ok(Block {
            labels: labels(&ids, tokenizer.bos, tokenizer.eos),
            ids,
        })
    }

    /// Compares every shard with the hash in the manifest: reads all of the folder.
    ///
    /// # Errors
    /// [`Error::File`] naming the first that differs.
    pub fn verify(&self) -> Result<()> {
        let differs = |i: &usize| hash(&self.shards[*i]) != self.manifest.shards[*i].sha256;
        #[cfg(feature = "threads")]
        let first = {
            use rayon::prelude::*;
            (0..self.shards.len()).into_par_iter().find_first(differs)
        };
        #[cfg(not(feature = "threads"))]
        let first = (0..self.shards.len()).find(differs);
        match first {
            Some(i) => {
                let place = self.source.place(&self.manifest.shards[i].file);
                Err(Error::file(place, "is not what the manifest says", HINT))
            }
            None => Ok(()),
        }
    }

    /// Refuses a tokenizer ([`Tokenizer::sha256`](crate::files::Tokenizer::sha256)) that is not the one the folder was
    /// made with; `model` names it in the message.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn check_tokenizer(&self, model: &str, sha256: &str) -> Result<()> {
        if sha256 == self.manifest.settings.tokenizer.sha256 {
            return Ok(());
        }
        Err(Error::usage(
            format!(
                "{} was made with another tokenizer than that of {model}",
                self.source.name()
            ),
            "make it again with the tokenizer of this model",
        ))
    }
}
