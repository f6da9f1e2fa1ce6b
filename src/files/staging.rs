//! Folders that appear whole or not at all: written beside their place, synced, and renamed.

use crate::error::{Error, Result};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A folder being written. Dropped before [`Staging::commit`], it leaves nothing behind.
pub struct Staging {
    out: PathBuf,
    tmp: PathBuf,
    /// Where what was there goes while it is replaced.
    old: PathBuf,
    committed: bool,
}

impl Staging {
    /// Starts writing what will be the folder `out`, as `out.tmp-<process>`. A model that is there already is
    /// replaced at the very end, and only with `force`.
    ///
    /// # Errors
    /// [`Error::Usage`] when `out` is in use, [`Error::Io`] when the folder cannot be made.
    pub fn begin(out: &Path, force: bool) -> Result<Self> {
        // A link is followed, so that the folder it points to is replaced and not the link.
        let out = dunce::canonicalize(out).unwrap_or_else(|_| out.to_owned());
        refuse(&out, force)?;
        let Some(name) = out.file_name() else {
            let what = format!("{} is not a name for a folder", out.display());
            return Err(Error::usage(what, "name the folder to write"));
        };
        if let Some(parent) = out.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
        }
        let process = std::process::id();
        let tmp = beside(&out, name, &format!("tmp-{process}"));
        let old = beside(&out, name, &format!("old-{process}"));
        remove_stale(&out, name);
        // In a container every run may have the same process id: a leftover of that name is a dead run's.
        if tmp.exists() {
            fs::remove_dir_all(&tmp).map_err(|e| Error::io(&tmp, e))?;
        }
        fs::create_dir(&tmp).map_err(|e| Error::io(&tmp, e))?;
        Ok(Self {
            tmp,
            old,
            out,
            committed: false,
        })
    }

    /// Where the files go until they are committed.
    pub fn path(&self) -> &Path {
        &self.tmp
    }

    /// Writes and syncs a whole file.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_synced(&self.tmp.join(name), bytes)
    }

    /// Puts the folder in its place. Files written other than by [`Staging::write`] must have been synced.
    pub fn commit(mut self) -> Result<()> {
        sync_folder(&self.tmp)?;
        let replaced = self.out.exists();
        if replaced {
            fs::rename(&self.out, &self.old).map_err(|e| Error::io(&self.out, e))?;
        }
        if let Err(e) = fs::rename(&self.tmp, &self.out) {
            if replaced {
                // Nothing more can be done if this fails as well; both folders are still there.
                let _ = fs::rename(&self.old, &self.out);
            }
            return Err(Error::io(&self.out, e));
        }
        self.committed = true;
        if let Some(parent) = self.out.parent().filter(|p| !p.as_os_str().is_empty()) {
            sync_folder(parent)?;
        }
        if replaced {
            fs::remove_dir_all(&self.old).map_err(|e| Error::io(&self.old, e))?;
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.committed {
            // An error is on its way to the user already; this one would hide it.
            let _ = fs::remove_dir_all(&self.tmp);
        }
    }
}

/// `name.suffix` in the folder of `out`.
fn beside(out: &Path, name: &OsStr, suffix: &str) -> PathBuf {
    let mut name = name.to_owned();
    name.push(".");
    name.push(suffix);
    out.with_file_name(name)
}

/// Removes what killed runs left, where it can be told that they are gone (Linux); others may still be writing.
fn remove_stale(out: &Path, name: &OsStr) {
    if !Path::new("/proc/self").exists() {
        return;
    }
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty());
    let Ok(entries) = fs::read_dir(parent.unwrap_or(Path::new("."))) else {
        return; // creating the folder will tell why
    };
    let prefix = format!("{}.tmp-", name.to_string_lossy());
    for entry in entries.flatten() {
        let entry_name = entry.file_name();
        let id = entry_name.to_str().and_then(|n| n.strip_prefix(&prefix));
        let id = id.filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()));
        if id.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            let _ = fs::remove_dir_all(entry.path()); // it costs space, nothing else
        }
    }
}

/// Refuses to write over what is there, unless it is empty or a model and `force` is given.
fn refuse(out: &Path, force: bool) -> Result<()> {
    if !out.exists() {
        return Ok(());
    }
    let shown = out.display();
    if !out.is_dir() {
        let what = format!("{shown} exists and is not a folder");
        return Err(Error::usage(what, "choose another name"));
    }
    let mut entries = fs::read_dir(out).map_err(|e| Error::io(out, e))?;
    if entries.next().is_none() {
        return Ok(());
    }
    if !force {
        return Err(Error::usage(
            format!("{shown} exists and is not empty"),
            "choose another folder, or pass --force to replace it",
        ));
    }
    // The whole folder goes, so it had better be a model.
    if !out.join(super::CONFIG).is_file() {
        return Err(Error::usage(
            format!("{shown} does not hold a model, so --force does not replace it"),
            "choose another folder",
        ));
    }
    Ok(())
}

/// Makes the names in a folder durable; other systems than Unix have no such call.
pub(super) fn sync_names(path: &Path) -> std::io::Result<()> {
    match cfg!(unix) {
        true => File::open(path)?.sync_all(),
        false => Ok(()),
    }
}

/// The same, for whoever says where it went wrong.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    sync_names(path).map_err(|e| Error::io(path, e))
}

/// Replaces a file so that a reader, or whoever comes after a kill, finds the old bytes or the new ones.
pub fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let (path, tmp) = (folder.join(name), folder.join(format!("{name}.tmp")));
    write_synced(&tmp, bytes)?;
    fs::rename(&tmp, &path).map_err(|e| Error::io(&path, e))?;
    sync_folder(folder)
}

/// Writes a whole file and makes its bytes durable.
pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|e| Error::io(path, e))
}
