//! Checkpoints that are whole or not there: `step-N` folders of named tensors, f32 or words, and a state.
//!
//! A checkpoint is written as `step-N.tmp`: every file synced, then `manifest.json` with the SHA-256 of each, then the
//! folder; it gets its name by renaming, and the parent is synced. Whatever a kill leaves, the newest `step-N` whose
//! manifest holds is a checkpoint. Ranks that own parts of a model write these into the same folder, in files of their own
//! ([`Piece`]), before the leading rank writes the manifest.

use super::disk::{Disk, System};
use crate::error::{Error, Result};
use crate::files::corpus::Order;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

mod loss_scale;
mod part;
mod saved;
mod saving;

pub use loss_scale::LossScale;
pub use part::{Part, Piece};
pub use saved::{Saved, Tensors};
pub use saving::{Saving, TensorFile};

/// Name of the list of files.
const MANIFEST: &str = "manifest.json";
/// Name of the state.
const STATE: &str = "state.json";

/// All that training goes on from, beside the tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    /// Steps made, skipped ones included.
    pub step: u64,
    /// Updates made: AdamW's step count.
    pub updates: u64,
    /// Tokens seen.
    pub tokens: u64,
    /// The loss scale.
    pub loss_scale: LossScale,
    /// State of the random numbers.
    pub random: u64,
    /// Where the data is being read.
    pub order: Order,
    /// Milliseconds of training so far.
    pub milliseconds: u64,
    /// Perplexities before the first step, by text.
    #[serde(default)]
    pub before: BTreeMap<String, Before>,
}

/// Perplexities of a text before training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// With full-precision weights.
    pub full: f64,
    /// With the same weights, quantized as in training.
    pub quantized: f64,
}

/// `manifest.json`: SHA-256 and size of every other file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    files: BTreeMap<String, Sealed>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    bytes: u64,
    sha256: String,
}

/// The checkpoints of a run.
pub struct Checkpoints {
    run: PathBuf,
    keep: usize,
    disk: Box<dyn Disk>,
}

impl Checkpoints {
    /// Those in the folder `run`, which is made if it is not there; what a kill left unfinished is removed. `keep`
    /// newest ones stay when one is saved (at least 1).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(run: &Path, keep: usize) -> Result<Self> {
        Self::open_on(Box::new(System), run, keep)
    }

    /// [`Checkpoints::open`] on another disk.
    pub fn open_on(disk: Box<dyn Disk>, run: &Path, keep: usize) -> Result<Self> {
        disk.make_folder(run).map_err(|e| Error::io(run, e))?;
        for entry in fs::read_dir(run).map_err(|e| Error::io(run, e))? {
            let path = entry.map_err(|e| Error::io(run, e))?.path();
            let name = path.file_name().and_then(|n| n.to_str());
            let stale = name.and_then(|n| n.strip_suffix(".tmp"));
            let stale = stale.map(|n| n.strip_suffix(".old").unwrap_or(n));
            if stale.is_some_and(|n| number(n).is_some()) && path.is_dir() {
                disk.remove(&path).map_err(|e| Error::io(&path, e))?;
            }
        }
        Ok(Self {
            run: run.to_owned(),
            keep: keep.max(1),
            disk,
        })
    }

    /// Steps that have a folder, in order; it may be damaged.
    pub fn steps(&self) -> Result<Vec<u64>> {
        let mut steps = Vec::new();
        for entry in fs::read_dir(&self.run).map_err(|e| Error::io(&self.run, e))? {
            let name = entry.map_err(|e| Error::io(&self.run, e))?.file_name();
            steps.extend(name.to_str().and_then(number));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// Those of a rank that does not lead: it may only [add its part](Checkpoints::join) to what the leading rank saves, and
    /// [read](Checkpoints::known_whole) what that one has compared. Nothing is made or removed.
    pub fn of_follower(run: &Path) -> Self {
        Self {
            run: run.to_owned(),
            keep: 1,
            disk: Box::new(System),
        }
    }

    /// Begins to write the checkpoint of `step`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, step: u64) -> Result<Saving<'_>> {
        Saving::begin(self, step)
    }

    /// Writes files of the checkpoint of `step`, which another process [began](Checkpoints::save) and
    /// [takes over](Saving::take_over).
    pub fn join(&self, step: u64) -> Saving<'_> {
        Saving::join(self, step)
    }

    /// The newest checkpoint that is whole. What is wrong with newer ones is told to `say`, one line each. Reads all
    /// of it to compare hashes.
    ///
    /// # Errors
    /// [`Error::File`] when there are checkpoints, but none is whole; [`Error::Io`].
    pub fn newest(&self, say: &mut dyn FnMut(&str)) -> Result<Option<Saved>> {
        let steps = self.steps()?;
        let mut last = None;
        for &step in steps.iter().rev() {
            match Saved::open(&self.folder(step), step) {
                Ok(saved) => return Ok(Some(saved)),
                Err(error) => {
                    say(&format!("{error}; trying the checkpoint before it"));
                    last = Some(error);
                }
            }
        }
        last.map_or(Ok(None), Err)
    }

    /// The checkpoint of `step`, whose files another process has compared with the manifest: hashes are not made again.
    ///
    /// # Errors
    /// [`Error::File`] when a file is missing or has another size; [`Error::Io`].
    pub fn known_whole(&self, step: u64) -> Result<Saved> {
        Saved::known_whole(&self.folder(step), step)
    }

    /// Removes all but the newest ones up to `step`. Later ones are of a future that was left because it is damaged.
    fn prune(&self, step: u64) -> Result<()> {
        let mut steps = self.steps()?;
        steps.retain(|&s| s <= step);
        let old = steps.len().saturating_sub(self.keep);
        for &step in &steps[..old] {
            let folder = self.folder(step);
            // Whoever put something beside a checkpoint wants to keep it.
            if stranger(&folder)?.is_none() {
                self.discard(&folder)?;
            }
        }
        Ok(())
    }

    /// Removes a folder so that it is never taken for a checkpoint; after a kill the next start removes the rest.
    fn discard(&self, folder: &Path) -> Result<()> {
        let io = |e| Error::io(folder, e);
        let tmp = folder.with_extension("old.tmp");
        if tmp.exists() {
            self.disk.remove(&tmp).map_err(io)?;
        }
        self.disk.rename(folder, &tmp).map_err(io)?;
        self.disk.remove(&tmp).map_err(io)
    }

    fn folder(&self, step: u64) -> PathBuf {
        self.run.join(format!("step-{step}"))
    }
}

/// The name of something in the folder of a checkpoint that its manifest does not list.
fn stranger(folder: &Path) -> Result<Option<String>> {
    let manifest = fs::read(folder.join(MANIFEST)).ok();
    let manifest = manifest.and_then(|m| serde_json::from_slice::<Manifest>(&m).ok());
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let name = entry.map_err(|e| Error::io(folder, e))?.file_name();
        let name = name.to_string_lossy().into_owned();
        let listed = manifest
            .as_ref()
            .is_none_or(|m| m.files.contains_key(&name));
        if name != MANIFEST && !listed {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// N of `step-N`, as we write it.
pub(super) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("step-")?;
    let step: u64 = digits.parse().ok()?;
    (step.to_string() == digits).then_some(step)
}
