//! Writing blocks into shards: all of them in order, or a uniform sample of a number that is fixed beforehand.
//!
//! The sample is a reservoir on disk: block i takes the place of one drawn from the first i. Draws follow from the
//! seed and i alone, so doing the last ones again after a restart leaves the same bytes.

use super::manifest::{Settings, Shard};
use crate::error::{Error, Result};
use crate::files::digest::hex;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Shards kept open at the same time.
pub const OPEN_SHARDS: usize = 128;

/// Shards being written.
pub struct Shards {
    folder: PathBuf,
    id_bytes: usize,
    block_bytes: u64,
    shard_blocks: u64,
    vocab: usize,
    sample: Option<u64>,
    seed: u64,
    /// Blocks offered so far.
    seen: u64,
    open: BTreeMap<u64, File>,
    buffer: Vec<u8>,
}

impl Shards {
    /// Goes on after the first `seen` blocks; what was written of later ones is written again.
    pub fn new(folder: &Path, settings: &Settings, seen: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            id_bytes: settings.id_bytes,
            block_bytes: settings.block_bytes(),
            shard_blocks: settings.shard_blocks,
            vocab: settings.tokenizer.vocab,
            sample: settings.sample_blocks(),
            seed: settings.seed,
            seen,
            open: BTreeMap::new(),
            buffer: Vec::new(),
        }
    }

    /// Blocks offered so far.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Blocks kept so far.
    pub fn kept(&self) -> u64 {
        self.sample.map_or(self.seen, |most| most.min(self.seen))
    }

    /// Offers the next block.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Usage`] for an id that the tokenizer should not have given.
    pub fn push(&mut self, ids: &[u32]) -> Result<()> {
        let slot = match self.sample {
            Some(most) if self.seen >= most => draw(self.seed, self.seen),
            _ => self.seen,
        };
        self.seen += 1;
        if self.sample.is_some_and(|most| slot >= most) {
            return Ok(());
        }
        if let Some(id) = ids.iter().find(|&&id| id as usize >= self.vocab) {
            let what = format!("the tokenizer gives id {id}, but has only {}", self.vocab);
            return Err(Error::usage(what, "correct its vocabulary"));
        }
        self.buffer.clear();
        for id in ids {
            let bytes = &id.to_le_bytes()[..self.id_bytes];
            self.buffer.extend_from_slice(bytes);
        }
        self.write(slot)
    }

    /// Writes the buffer as block `slot`.
    fn write(&mut self, slot: u64) -> Result<()> {
        let shard = slot / self.shard_blocks;
        let at = slot % self.shard_blocks * self.block_bytes;
        let path = self.folder.join(name(shard));
        if !self.open.contains_key(&shard) {
            if self.open.len() >= OPEN_SHARDS {
                self.sync()?;
                self.open.clear();
            }
            let mut options = OpenOptions::new();
            let file = options.write(true).create(true).truncate(false).open(&path);
            self.open
                .insert(shard, file.map_err(|e| Error::io(&path, e))?);
        }
        let Some(file) = self.open.get_mut(&shard) else {
            return Ok(());
        };
        let sought = file.seek(SeekFrom::Start(at));
        let written = sought.and_then(|_| file.write_all(&self.buffer));
        written.map_err(|e| Error::io(&path, e))
    }

    /// Makes everything offered so far durable.
    pub fn sync(&mut self) -> Result<()> {
        for (&shard, file) in &self.open {
            let synced = file.sync_data();
            synced.map_err(|e| Error::io(self.folder.join(name(shard)), e))?;
        }
        // In order, only the last shard is written again.
        if self.sample.is_none() {
            let last = self.open.keys().next_back().copied();
            self.open.retain(|&shard, _| Some(shard) == last);
        }
        Ok(())
    }

    /// Syncs, cuts off what a killed run wrote beyond the end, and lists the shards with their hashes.
    pub fn finish(mut self) -> Result<Vec<Shard>> {
        self.sync()?;
        self.open.clear();
        let (mut left, mut shards) = (self.kept(), Vec::new());
        while left > 0 {
            let blocks = left.min(self.shard_blocks);
            left -= blocks;
            let file = name(shards.len() as u64);
            let path = self.folder.join(&file);
            let sha256 = seal(&path, blocks * self.block_bytes).map_err(|e| Error::io(&path, e))?;
            shards.push(Shard {
                file,
                blocks,
                sha256,
            });
        }
        Ok(shards)
    }
}

fn name(shard: u64) -> String {
    format!("shard-{shard:05}.bin")
}

/// Whether a shard may be called that.
pub(super) fn is_shard(name: &str) -> bool {
    let digits = name.strip_prefix("shard-");
    let digits = digits.and_then(|n| n.strip_suffix(".bin"));
    let number = digits.and_then(|n| n.parse().ok());
    number.is_some_and(|n| self::name(n) == name)
}

/// Sets the length of a shard and hashes it.
fn seal(path: &Path, length: u64) -> std::io::Result<String> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    if file.metadata()?.len() != length {
        file.set_len(length)?;
        file.sync_all()?;
    }
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..n]);
    }
}

/// The place that block `index` takes if it is in the sample: uniform over 0..=index.
fn draw(seed: u64, index: u64) -> u64 {
    let random = crate::random::at(seed, index);
    ((u128::from(random) * (u128::from(index) + 1)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_drawn_equally_often() {
        const MOST: u64 = 20;
        const ALL: u64 = 100;
        let mut times = [0; ALL as usize];
        for seed in 0..2000 {
            let mut kept: Vec<u64> = (0..MOST).collect();
            for i in MOST..ALL {
                let slot = draw(seed, i);
                if slot < MOST {
                    kept[slot as usize] = i;
                }
            }
            for i in kept {
                times[i as usize] += 1;
            }
        }
        // 400 expected, standard deviation 18.
        assert!(times.iter().all(|t| (310..490).contains(t)), "{times:?}");
    }
}
