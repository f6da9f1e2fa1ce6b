//! A data folder in the making: `OUT.part`, with a journal that says where to go on after a kill, and a marker that says
//! whose it is. Who writes there has locked `OUT.fairy2i-lock`.
//!
//! Shards are synced before the journal names them, and the journal is replaced by renaming; the folder gets its
//! name when all is done. So OUT is whole or not there, and whatever OUT.part holds beyond the journal is written
//! again with the same bytes.

use super::manifest::{Counts, MANIFEST, Manifest, Settings};
use super::packing::Packer;
use crate::error::{Error, Result};
use crate::files::Inputs;
use crate::files::json::{differences, show};
use crate::files::lock::Lock;
use crate::files::marker::{Author, MARKER, Marker};
use crate::files::staging::{beside, occupied, replace, sync_folder};
use crate::files::text::UTF8_MARK;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

const JOURNAL: &str = "journal.json";
const AUTHOR: Author<'static> = Author {
    command: "data",
    run: None,
};

/// Where the work is, all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Index of the source being read.
    pub source: usize,
    /// Lines, rows or pieces of it that were taken.
    pub taken: u64,
    /// Tokens that wait for their block.
    pub packer: Packer,
    /// Blocks offered to the shards.
    pub seen: u64,
    /// What came out so far.
    pub counts: Counts,
}

#[derive(Serialize, Deserialize)]
struct Journal {
    settings: Settings,
    state: State,
}

/// The folder `OUT.part`, locked.
#[derive(Debug)]
pub struct Work {
    out: PathBuf,
    part: PathBuf,
    _lock: Lock,
    /// Whether there is anything worth keeping.
    saved: bool,
}

impl Work {
    /// Begins, or goes on where a run with the same settings was stopped. `inputs` is what is read meanwhile.
    ///
    /// # Errors
    /// [`Error::Usage`] when `out` or `OUT.part` is, holds or lies in something that is read, when a run with other
    /// settings left `OUT.part` (the message lists the fields that differ), or when one is still at work there;
    /// [`Error::Occupied`] when `out` exists, or `OUT.part` holds anything that no such run wrote.
    pub fn begin(
        out: &Path,
        settings: &Settings,
        inputs: &Inputs,
    ) -> Result<(Self, Option<State>)> {
        let shown = show(&out.to_string_lossy());
        let Some(name) = out.file_name() else {
            let what = format!("{shown} is not a name for a folder");
            return Err(Error::usage(what, "name the folder to write"));
        };
        let mut name = name.to_owned();
        name.push(".part");
        let (part, lock) = (out.with_file_name(name), beside(out, "lock"));
        for place in [out, &part, &lock] {
            inputs.keep_off(place)?;
        }
        if fs::symlink_metadata(out).is_ok() {
            return Err(occupied(out, "exists already".into(), false));
        }
        if let Some(parent) = out.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(|e| Error::io(out, e))?;
        }
        let Some(lock) = Lock::take(&lock)? else {
            let what = format!("another process is writing {shown}");
            return Err(Error::usage(what, "wait for it, or choose another name"));
        };
        // Once more: the process that held the lock before may have finished in between.
        if fs::symlink_metadata(out).is_ok() {
            return Err(occupied(out, "exists already".into(), false));
        }
        ours(&part)?;
        fs::create_dir_all(&part).map_err(|e| Error::io(&part, e))?;
        Marker::begin(&part, AUTHOR)?;
        let state = recover(&part, settings)?;
        if state.is_none() {
            clear(&part)?;
        }
        let work = Self {
            out: out.to_owned(),
            part,
            _lock: lock,
            saved: state.is_some(),
        };
        Ok((work, state))
    }

    /// Where the shards go.
    pub fn path(&self) -> &Path {
        &self.part
    }

    /// Notes how far the work is; the shards must have been synced.
    pub fn save(&mut self, settings: &Settings, state: &State) -> Result<()> {
        let journal = Journal {
            settings: settings.clone(),
            state: state.clone(),
        };
        replace(&self.part, JOURNAL, &json(&journal)?)?;
        self.saved = true;
        Ok(())
    }

    /// Writes the manifest and gives the folder its name.
    pub fn commit(mut self, manifest: &Manifest) -> Result<()> {
        replace(&self.part, MANIFEST, &json(manifest)?)?;
        fs::rename(&self.part, &self.out).map_err(|e| Error::io(&self.out, e))?;
        self.saved = true;
        let parent = self.out.parent().filter(|p| !p.as_os_str().is_empty());
        sync_folder(parent.unwrap_or(Path::new(".")))?;
        // Last, so that a kill before the new name finds its way on. Left behind, they do no harm.
        for name in [JOURNAL, MARKER] {
            let _ = fs::remove_file(self.out.join(name));
        }
        Ok(())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.saved {
            // An error is on its way to the user already; these would hide it.
            let _ = clear(&self.part);
            let _ = fs::remove_file(self.part.join(MARKER));
            let _ = fs::remove_dir(&self.part);
        }
    }
}

/// Refuses a folder `OUT.part` that no run left: one without a marker, or with files that none writes.
fn ours(part: &Path) -> Result<()> {
    let Ok(kind) = fs::symlink_metadata(part) else {
        return Ok(());
    };
    if !kind.is_dir() {
        return Err(occupied(part, "exists and is no folder".into(), false));
    }
    let marked = Marker::read(part).is_some_and(|m| m.command == AUTHOR.command);
    for entry in fs::read_dir(part).map_err(|e| Error::io(part, e))? {
        let name = entry.map_err(|e| Error::io(part, e))?.file_name();
        let name = show(&name.to_string_lossy());
        // A process may be killed while it writes the marker.
        if name != MARKER && !(marked && is_written(&name)) {
            let what = format!("holds {name}, which no run of `data` wrote");
            return Err(occupied(part, what, false));
        }
    }
    Ok(())
}

/// Whether a file of this name is written on the way, the marker aside.
fn is_written(name: &str) -> bool {
    let whole = name.strip_suffix(".tmp").unwrap_or(name);
    whole == JOURNAL || whole == MANIFEST || super::shards::is_shard(name)
}

/// Removes all that was written, the marker aside.
fn clear(part: &Path) -> Result<()> {
    for entry in fs::read_dir(part).map_err(|e| Error::io(part, e))? {
        let entry = entry.map_err(|e| Error::io(part, e))?;
        if entry.file_name().to_str().is_some_and(is_written) {
            let path = entry.path();
            fs::remove_file(&path).map_err(|e| Error::io(path, e))?;
        }
    }
    Ok(())
}

/// What the journal says, if there is one.
fn recover(part: &Path, settings: &Settings) -> Result<Option<State>> {
    let path = part.join(JOURNAL);
    let place = show(&path.to_string_lossy());
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, e)),
    };
    let remove = format!("or remove {}", show(&part.to_string_lossy()));
    let text = bytes.strip_prefix(UTF8_MARK).unwrap_or(&bytes);
    let journal: serde_json::Value = serde_json::from_slice(text)
        .map_err(|e| Error::file(&place, show(&e.to_string()), remove.as_str()))?;
    let now = serde_json::to_value(settings).unwrap_or_default();
    let differing = differences(&journal["settings"], &now);
    if !differing.is_empty() {
        return Err(Error::usage(
            format!(
                "{place} is of a run with other settings (then, now): {}",
                differing.join("; ")
            ),
            format!("finish that run with its settings, {remove}"),
        ));
    }
    let journal: Journal = serde_json::from_value(journal)
        .map_err(|e| Error::file(&place, show(&e.to_string()), remove))?;
    Ok(Some(journal.state))
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    let text = serde_json::to_vec_pretty(value);
    text.map_err(|e| Error::usage(e.to_string(), "this is a bug"))
}
