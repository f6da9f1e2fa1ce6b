//! What a command leaves in a folder that it writes, so that it knows its own work again and replaces nothing else.
//!
//! # The format, version 1
//!
//! The file `.fairy2i-gpu.json` in the folder, one JSON object. It names no place and no time, so it holds for a copy
//! of the folder as well.
//!
//! | field | value |
//! |---|---|
//! | `format` | `"fairy2i-gpu folder 1"` |
//! | `command` | the command that wrote the folder: `"quantize"`, `"export"`, `"train"`, `"bench"`, `"data"` |
//! | `version` | the version of this program that did |
//! | `run` | only for `train`: which run it was, as in the run's `run.json` |
//! | `files` | name and fingerprint of every other file in the folder; empty while it is being written |
//!
//! A fingerprint is the length of the file in bytes, a colon, and a SHA-256 in hexadecimal digits: that of the whole
//! file up to 16 MiB, and of 64 pieces of 256 KiB, the first at the file's beginning, the last at its end and the
//! others evenly between them, of a longer one. That costs no time to speak of, and no weights that were trained
//! further pass for those that were written.

use super::digest::hex;
use super::gguf;
use super::json::show;
use super::synced::write_synced;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

/// Name of the file.
pub const MARKER: &str = ".fairy2i-gpu.json";
const FORMAT: &str = "fairy2i-gpu folder 1";

/// Longest marker that is read.
const LONGEST: u64 = 16 << 20;
/// Files up to this length are hashed as a whole.
const WHOLE: u64 = 16 << 20;
/// Pieces of a longer one, and their length.
const PIECES: u64 = 64;
const PIECE: u64 = 256 << 10;

/// Who writes a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Author<'a> {
    /// The command.
    pub command: &'a str,
    /// Which run of it, if runs differ.
    pub run: Option<&'a str>,
}

/// Names and fingerprints of the files of weights in a folder, or of a GGUF file and those that it was split into, in the
/// order of their names.
///
/// # Errors
/// [`Error::Io`].
pub fn weights(model: &Path) -> Result<Vec<(String, String)>> {
    let files = match model.is_file() {
        true => gguf::parts(model)?,
        false => {
            let files = names(model)?.into_iter();
            let files = files.filter(|name| name.ends_with(".safetensors"));
            files.map(|name| model.join(name)).collect()
        }
    };
    let mut all = Vec::new();
    for path in files {
        let print = fingerprint(&path).map_err(|e| Error::io(&path, e))?;
        let name = path.file_name().unwrap_or_default();
        all.push((name.to_string_lossy().into_owned(), print));
    }
    all.sort();
    Ok(all)
}

/// What stands in [`MARKER`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    format: String,
    /// The command that wrote the folder.
    pub command: String,
    /// The version of this program that did.
    pub version: String,
    /// Which run of the command it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    files: BTreeMap<String, String>,
}

impl Marker {
    /// Marks a folder that `author` begins to write.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn begin(folder: &Path, author: Author<'_>) -> Result<()> {
        Self::write(folder, author, BTreeMap::new())
    }

    /// Marks a folder that is done, with all that is in it now.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(folder: &Path, author: Author<'_>) -> Result<()> {
        let mut files = BTreeMap::new();
        for name in names(folder)? {
            let path = folder.join(&name);
            let print = fingerprint(&path).map_err(|e| Error::io(path, e))?;
            files.insert(name, print);
        }
        Self::write(folder, author, files)
    }

    fn write(folder: &Path, author: Author<'_>, files: BTreeMap<String, String>) -> Result<()> {
        let marker = Self {
            format: FORMAT.to_owned(),
            command: author.command.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            run: author.run.map(str::to_owned),
            files,
        };
        let text = serde_json::to_vec_pretty(&marker)
            .map_err(|e| Error::usage(e.to_string(), "please report this as a bug"))?;
        write_synced(&folder.join(MARKER), &text)
    }

    /// The marker in `folder`, if there is one that can be understood.
    pub fn read(folder: &Path) -> Option<Self> {
        let path = folder.join(MARKER);
        let mut bytes = Vec::new();
        let file = path.is_file().then(|| File::open(&path).ok())??;
        file.take(LONGEST).read_to_end(&mut bytes).ok()?;
        let marker: Self = serde_json::from_slice(&bytes).ok()?;
        (marker.format == FORMAT).then_some(marker)
    }

    /// The marker of a folder that `author` wrote and nobody changed or added to since.
    ///
    /// # Errors
    /// Why it is not, to follow the folder's name in a message; [`Error::Io`] inside when it cannot be read.
    pub fn own(folder: &Path, author: Author<'_>) -> Result<Result<Self, String>> {
        let command = author.command;
        let inside = names(folder)?;
        let Some(marker) = Self::read(folder) else {
            let some = some(&inside);
            let what = format!("holds {some}, and no {MARKER} says that `{command}` wrote it");
            return Ok(Err(what));
        };
        if marker.command != command {
            return Ok(Err(format!("was written by `{}`", show(&marker.command))));
        }
        if marker.run.as_deref() != author.run {
            return Ok(Err(format!("was written by another run of `{command}`")));
        }
        for name in inside {
            let Some(then) = marker.files.get(&name) else {
                return Ok(Err(format!(
                    "holds {name}, which `{command}` did not write"
                )));
            };
            let path = folder.join(&name);
            let now = fingerprint(&path).map_err(|e| Error::io(&path, e))?;
            if now != *then {
                let what = format!("holds {name}, which was changed since `{command}` wrote it");
                return Ok(Err(what));
            }
        }
        Ok(Ok(marker))
    }

    /// Removes the files that this marker lists, itself, and the folder if nothing else is in it.
    ///
    /// # Errors
    /// [`Error::Io`]; what was put there meanwhile stays.
    pub fn remove(&self, folder: &Path) -> Result<()> {
        for name in self.files.keys().map(String::as_str).chain([MARKER]) {
            let path = folder.join(name);
            match fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io(path, e)),
                _ => {}
            }
        }
        fs::remove_dir(folder).map_err(|e| Error::io(folder, e))
    }
}

/// Names of all that is in `folder` but its marker, in alphabetical order.
fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let entry = entry.map_err(|e| Error::io(folder, e))?;
        names.push(show(&entry.file_name().to_string_lossy()));
    }
    names.retain(|name| name != MARKER);
    names.sort();
    Ok(names)
}

/// Names in words: not more than three.
fn some(names: &[String]) -> String {
    match names.len() {
        0 => "nothing that can be read".to_owned(),
        1..=3 => names.join(", "),
        n => format!("{} and {} more", names[..2].join(", "), n - 2),
    }
}

/// The fingerprint of a file, as the format says.
pub(super) fn fingerprint(path: &Path) -> std::io::Result<String> {
    fingerprint_without(path, 0..0)
}

/// The fingerprint that a file would have if the bytes in `blank` were zeros, for files that hold their own.
pub(super) fn fingerprint_without(path: &Path, blank: Range<u64>) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut hasher = Sha256::new();
    let mut add = |start: u64, bytes: &mut [u8]| {
        let length = bytes.len() as u64;
        let index = |at: u64| at.saturating_sub(start).min(length) as usize;
        bytes[index(blank.start)..index(blank.end)].fill(0);
        hasher.update(bytes);
    };
    let mut piece = vec![0; PIECE as usize];
    if length <= WHOLE {
        let mut start = 0;
        loop {
            match file.read(&mut piece)? {
                0 => break,
                n => add(start, &mut piece[..n]),
            }
            start = file.stream_position()?;
        }
    } else {
        for i in 0..PIECES {
            let start = u128::from(length - PIECE) * u128::from(i) / u128::from(PIECES - 1);
            file.seek(SeekFrom::Start(start as u64))?;
            file.read_exact(&mut piece)?;
            add(start as u64, &mut piece);
        }
    }
    Ok(format!("{length}:{}", hex(&hasher.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUANTIZE: Author<'_> = Author {
        command: "quantize",
        run: None,
    };

    fn written() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.json"), b"{}").unwrap();
        fs::write(folder.path().join("b.safetensors"), b"weights").unwrap();
        Marker::finish(folder.path(), QUANTIZE).unwrap();
        folder
    }

    fn why(folder: &Path, author: Author<'_>) -> String {
        Marker::own(folder, author).unwrap().expect_err("not ours")
    }

    #[test]
    fn only_what_the_same_command_left_is_its_own() {
        let folder = written();
        let path = folder.path();
        assert!(Marker::own(path, QUANTIZE).unwrap().is_ok());
        let (command, run) = ("export", Some("1"));
        let other = Author { command, run: None };
        assert!(why(path, other).contains("by `quantize`"));
        assert!(why(path, Author { run, ..QUANTIZE }).contains("another run"));
        for name in ["notes.txt", ".hidden", "Z"] {
            fs::write(path.join(name), b"mine").unwrap();
            assert!(why(path, QUANTIZE).contains(name), "{name}");
            fs::remove_file(path.join(name)).unwrap();
        }
        fs::create_dir(path.join("sub")).unwrap();
        assert!(why(path, QUANTIZE).contains("sub"));
        fs::remove_dir(path.join("sub")).unwrap();
        fs::write(path.join("a.json"), b"[]").unwrap();
        assert!(why(path, QUANTIZE).contains("a.json, which was changed"));
        fs::remove_file(path.join("a.json")).unwrap();
        assert!(Marker::own(path, QUANTIZE).unwrap().is_ok());
        for text in ["", "{}", r#"{"format": "another"}"#] {
            fs::write(path.join(MARKER), text).unwrap();
            assert!(why(path, QUANTIZE).contains("b.safetensors"), "{text}");
        }
    }

    #[test]
    fn a_marker_holds_for_a_copy() {
        let (folder, copy) = (written(), tempfile::tempdir().unwrap());
        for name in ["a.json", "b.safetensors", MARKER] {
            fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
        }
        assert!(Marker::own(copy.path(), QUANTIZE).unwrap().is_ok());
    }

    #[test]
    fn removing_leaves_what_came_later() {
        let folder = written();
        let path = folder.path().join("out");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("a.json"), b"{}").unwrap();
        Marker::finish(&path, QUANTIZE).unwrap();
        let marker = Marker::read(&path).expect("a marker");
        fs::write(path.join("late.txt"), b"mine").unwrap();
        assert!(marker.remove(&path).is_err());
        assert!(!path.join("a.json").exists() && path.join("late.txt").exists());
        fs::remove_file(path.join("late.txt")).unwrap();
        marker.remove(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn every_part_of_a_long_file_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        let length = WHOLE as usize + 12_345;
        let print = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            fingerprint(&path).unwrap()
        };
        let bytes = vec![7u8; length];
        let first = print(&bytes);
        assert_eq!(first, print(&bytes));
        assert!(first.starts_with(&format!("{length}:")));
        for at in [0, length - 1] {
            let mut other = bytes.clone();
            other[at] = 8;
            assert_ne!(print(&other), first, "{at}");
        }
        assert_ne!(print(&bytes[1..]), first);
        let trained: Vec<u8> = (0..length).map(|i| 7 + (i % 1000 == 0) as u8).collect();
        assert_ne!(print(&trained), first);
    }
}
