//! Folders that appear whole or not at all: written beside their place, synced, and renamed.
//!
//! While the folder OUT is written, `OUT.fairy2i-lock` is locked, `OUT.fairy2i-tmp` holds what is done, and for a
//! moment `OUT.fairy2i-old` what is replaced. Whatever of these a killed process leaves is cleared away by the next
//! one, which puts the old folder back if it finds no new one.

use super::inputs::{Inputs, resolve};
use super::json::show;
use super::lock::Lock;
use super::marker::{Author, MARKER, Marker};
use super::synced::write_synced;
use crate::error::{Error, Result};
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A folder to be written, by whom, and what has to stay.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// The folder.
    pub out: &'a Path,
    /// Who writes it: goes into its marker.
    pub author: Author<'a>,
    /// Whether a folder that the same author wrote is replaced; nothing else ever is.
    pub replace: bool,
    /// What is read meanwhile.
    pub inputs: &'a Inputs,
}

/// A folder being written. Dropped before [`Staging::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct Staging {
    places: Places,
    command: String,
    run: Option<String>,
    replace: bool,
    committed: bool,
    _lock: Lock,
}

/// A folder and what stands beside it for a while.
#[derive(Debug)]
struct Places {
    /// The folder as the caller names it.
    shown: String,
    out: PathBuf,
    tmp: PathBuf,
    /// Where what was there goes while it is replaced.
    old: PathBuf,
    lock: PathBuf,
}

/// A folder that was replaced; in words, to be told to whom it belonged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    out: String,
    command: String,
    version: String,
}

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (out, command, version) = (&self.out, &self.command, &self.version);
        write!(f, "replaced {out}, which `{command}` {version} had written")
    }
}

static NOTHING: Inputs = Inputs::new();

impl<'a> Destination<'a> {
    /// The folder `out` for the command `command`, which replaces nothing and reads nothing but what its writer knows
    /// of.
    pub fn new(out: &'a Path, command: &'a str) -> Self {
        Self {
            out,
            author: Author { command, run: None },
            replace: false,
            inputs: &NOTHING,
        }
    }

    /// Refuses at once what [`Staging::begin`] would refuse, and makes nothing.
    ///
    /// # Errors
    /// Those of [`Staging::begin`].
    pub fn check(&self) -> Result<()> {
        self.places().map(drop)
    }

    fn places(&self) -> Result<Places> {
        let places = Places::of(self)?;
        places.vacant(self.author, self.replace)?;
        ours(&places.tmp)?;
        ours(&places.old)?;
        Ok(places)
    }
}

impl Places {
    /// Where everything goes; none of it may be read, lie in what is read, or hold it.
    fn of(destination: &Destination<'_>) -> Result<Self> {
        let (shown, out) = followed(destination.out, "folder")?;
        let places = Self {
            shown,
            tmp: beside(&out, "tmp"),
            old: beside(&out, "old"),
            lock: beside(&out, "lock"),
            out,
        };
        destination.inputs.keep_off(destination.out)?;
        for place in [&places.tmp, &places.old, &places.lock] {
            destination.inputs.keep_off(place)?;
        }
        Ok(places)
    }

    /// Whether the folder may be written: it is not there or empty (`None`), or `author` wrote it and may replace it
    /// (its marker).
    fn vacant(&self, author: Author<'_>, replace: bool) -> Result<Option<Marker>> {
        let occupied = |what: String, replaceable| Error::Occupied {
            path: self.shown.clone(),
            what,
            replaceable,
        };
        let out = &self.out;
        if !out.exists() {
            return Ok(None);
        }
        if !out.is_dir() {
            return Err(occupied("exists and is not a folder".into(), false));
        }
        let mut entries = fs::read_dir(out).map_err(|e| Error::io(out, e))?;
        if entries.next().is_none() {
            return Ok(None);
        }
        match Marker::own(out, author)? {
            Ok(marker) if replace => Ok(Some(marker)),
            Ok(_) => Err(occupied("exists and is not empty".into(), true)),
            Err(why) => Err(occupied(format!("exists and {why}"), false)),
        }
    }
}

impl Staging {
    /// Starts writing a folder. Links are followed; what is replaced stays until the very end.
    ///
    /// # Errors
    /// [`Error::Usage`] when it is, holds or lies in something that is read, or when another process writes it;
    /// [`Error::Occupied`] when something is there that may not be replaced; [`Error::Io`] when it cannot be made.
    pub fn begin(destination: &Destination<'_>) -> Result<Self> {
        let places = destination.places()?;
        if let Some(parent) = parent(&places.out) {
            // The folder that was asked for is named, not the one above it.
            fs::create_dir_all(parent).map_err(|e| Error::io(&places.shown, e))?;
        }
        let Some(lock) = Lock::take(&places.lock)? else {
            let what = format!("another process is writing {}", places.shown);
            return Err(Error::usage(what, "wait for it, or choose another folder"));
        };
        clear(&places)?;
        // Once more: the process that held the lock before may have finished in between.
        places.vacant(destination.author, destination.replace)?;
        fs::create_dir(&places.tmp).map_err(|e| Error::io(&places.tmp, e))?;
        let staging = Self {
            places,
            command: destination.author.command.to_owned(),
            run: destination.author.run.map(str::to_owned),
            replace: destination.replace,
            committed: false,
            _lock: lock,
        };
        Marker::begin(staging.path(), staging.author())?;
        Ok(staging)
    }

    /// Where the files go until they are committed.
    pub fn path(&self) -> &Path {
        &self.places.tmp
    }

    /// Writes and syncs a whole file.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_synced(&self.path().join(name), bytes)
    }

    /// Puts the folder in its place. Files written other than by [`Staging::write`] must have been synced. Returns
    /// what was replaced, if something was.
    ///
    /// # Errors
    /// [`Error::Occupied`] when something came to be there meanwhile, [`Error::Io`].
    pub fn commit(mut self) -> Result<Option<Replaced>> {
        Marker::finish(self.path(), self.author())?;
        sync_folder(self.path())?;
        let replaced = self.places.vacant(self.author(), self.replace)?;
        let Places { out, tmp, old, .. } = &self.places;
        if replaced.is_some() {
            fs::rename(out, old).map_err(|e| Error::io(out, e))?;
        } else if out.exists() {
            // It is empty; not every system renames over such a folder.
            fs::remove_dir(out).map_err(|e| Error::io(out, e))?;
        }
        if let Err(e) = fs::rename(tmp, out) {
            if replaced.is_some() {
                // If this fails as well, the next start puts the old folder back.
                let _ = fs::rename(old, out);
            }
            return Err(Error::io(out, e));
        }
        self.committed = true;
        let Places { out, old, .. } = &self.places;
        if let Some(parent) = parent(out) {
            sync_folder(parent)?;
        }
        let Some(marker) = replaced else {
            return Ok(None);
        };
        marker.remove(old)?;
        Ok(Some(Replaced {
            out: self.places.shown.clone(),
            command: marker.command,
            version: marker.version,
        }))
    }

    fn author(&self) -> Author<'_> {
        Author {
            command: &self.command,
            run: self.run.as_deref(),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.committed {
            // An error is on its way to the user already; this one would hide it.
            let _ = fs::remove_dir_all(&self.places.tmp);
        }
    }
}

/// A place as the caller names it, and where it is. A link is followed, so that the `kind` (folder or file) it points to is
/// replaced and not the link.
///
/// # Errors
/// [`Error::Usage`] for a link that leads nowhere, and for what is no name.
pub(super) fn followed(out: &Path, kind: &str) -> Result<(String, PathBuf)> {
    let shown = show(&out.to_string_lossy());
    let link = fs::symlink_metadata(out).is_ok_and(|d| d.is_symlink());
    if link && !out.exists() {
        let what = format!("{shown} is a link that leads nowhere");
        return Err(Error::usage(what, format!("choose another {kind}")));
    }
    let out = dunce::canonicalize(out).unwrap_or_else(|_| resolve(out));
    if out.file_name().is_none() {
        let what = format!("{shown} is not a name for a {kind}");
        return Err(Error::usage(what, format!("name the {kind} to write")));
    }
    Ok((shown, out))
}

/// `out.fairy2i-kind`, beside `out`.
pub(super) fn beside(out: &Path, kind: &str) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".fairy2i-");
    name.push(kind);
    out.with_file_name(name)
}

/// The folder that holds `path`, where it has a name.
pub(super) fn parent(path: &Path) -> Option<&Path> {
    path.parent().filter(|p| !p.as_os_str().is_empty())
}

/// Refuses what no process of ours left beside a folder.
fn ours(leftover: &Path) -> Result<()> {
    if fs::symlink_metadata(leftover).is_err() || Marker::read(leftover).is_some() {
        return Ok(());
    }
    // A process may be killed between making a folder and marking it, or between its last file and the folder.
    let first = fs::read_dir(leftover).ok().map(|mut all| all.next());
    let what = match first {
        Some(None) => return Ok(()),
        Some(Some(Ok(entry))) => {
            let name = show(&entry.file_name().to_string_lossy());
            format!("is in the way: it holds {name}, and no {MARKER} says whose it is")
        }
        _ => "is in the way: it is no folder of ours".to_owned(),
    };
    Err(occupied(leftover, what, false))
}

/// Clears away what a killed process left, once nobody else can be writing.
fn clear(places: &Places) -> Result<()> {
    let Places { out, tmp, old, .. } = places;
    ours(tmp)?;
    ours(old)?;
    if tmp.exists() {
        fs::remove_dir_all(tmp).map_err(|e| Error::io(tmp, e))?;
    }
    match Marker::read(old) {
        Some(_) if !out.exists() => fs::rename(old, out).map_err(|e| Error::io(out, e)),
        Some(marker) => marker.remove(old),
        None if old.exists() => fs::remove_dir(old).map_err(|e| Error::io(old, e)),
        None => Ok(()),
    }
}

/// The error for what is in the way.
pub(super) fn occupied(path: &Path, what: String, replaceable: bool) -> Error {
    Error::Occupied {
        path: show(&path.to_string_lossy()),
        what,
        replaceable,
    }
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
