//! Whole files of text, to be measured: what they hold, and what they are called beside each other.

use super::TextUnit;
use super::archive::{Frames, bad};
use super::encoder::Cut;
use super::json_line::json_text;
use super::records::{Body, Reading, Records};
use crate::error::{Error, Result};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// The field of a document that holds its text.
const FIELD: &str = "text";

/// What a file holds.
#[derive(Debug)]
pub enum Content {
    /// One text.
    Whole(String),
    /// Lines of JSON or rows.
    Documents(Vec<String>),
}

impl Content {
    /// Reads `file` as training data is read; a file of another name is plain text.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::File`] for a file that holds anything but text.
    pub fn read(file: &Path) -> Result<Self> {
        let reading = Reading {
            field: FIELD.to_owned(),
            unit: TextUnit::File,
            longest: 1 << 30,
            cut: Cut::Never,
            any_name: true,
        };
        let mut records = Records::open(file, &reading)?;
        let mut documents = Vec::new();
        while let Some(record) = records.next()? {
            let bad = |line: u64, what: String| {
                let place = format!("{}:{line}", file.display());
                Error::file(place, what, "give a text in UTF-8")
            };
            if let Some((line, why)) = record.bad.into_iter().next() {
                return Err(bad(line, why));
            }
            let whole = matches!(record.body, Body::Lines(_));
            let text = record.body.text(&reading.field);
            let text = text.map_err(|why| bad(record.number, why))?;
            if !whole {
                documents.push(text);
                continue;
            }
            // No text has zeros, but most other files do, and they are UTF-8.
            if let Some(zero) = text.find('\0') {
                let lines = text[..zero].matches('\n').count() as u64;
                return Err(bad(lines + 1, "a byte is 0: this is no text".to_owned()));
            }
            return Ok(Self::Whole(text));
        }
        Ok(Self::Documents(documents))
    }

    /// Documents of JSON lines in zstd frames that are in memory; `name` stands for them in messages.
    ///
    /// # Errors
    /// [`Error::File`] for anything else.
    pub fn from_frames(name: &str, frames: &[u8]) -> Result<Self> {
        let mut documents = Vec::new();
        for line in BufReader::new(Frames::new(frames)).lines() {
            let line = line.map_err(|e| bad(name, e))?;
            let text = json_text(line.as_bytes(), FIELD);
            documents.push(text.map_err(|why| Error::file(name, why, "give JSON lines"))?);
        }
        Ok(Self::Documents(documents))
    }

    /// Texts between which the model may not look.
    pub fn documents(&self) -> Vec<&str> {
        match self {
            Self::Whole(text) => vec![text],
            Self::Documents(all) => all.iter().map(String::as_str).collect(),
        }
    }

    /// Documents of the papers' protocol: lines of a text, records of others.
    pub fn lines(&self) -> Vec<&str> {
        match self {
            Self::Whole(text) => text.split('\n').collect(),
            Self::Documents(_) => self.documents(),
        }
    }
}

/// A name for every file: its stem, or as much of its path as tells it from others with that stem.
pub fn names(files: &[PathBuf]) -> Vec<String> {
    let same = |a: &Path, b: &Path| stem(a) == stem(b);
    let mut names: Vec<String> = Vec::with_capacity(files.len());
    for file in files {
        let alike: Vec<&PathBuf> = files.iter().filter(|other| same(other, file)).collect();
        let mut forms = (0..).map(|n| form(file, n));
        let longest = forms.clone().take_while(Option::is_some).count();
        let mut alone =
            forms.by_ref().take(longest).enumerate().filter(|(n, own)| {
                alike.iter().filter(|other| form(other, *n) == *own).count() == 1
            });
        let name = alone.next().and_then(|(_, own)| own);
        let name = name.unwrap_or_else(|| file.display().to_string());
        // The same file twice is measured twice.
        let number = |n: usize| {
            if n == 1 {
                name.clone()
            } else {
                format!("{name} ({n})")
            }
        };
        let free = (1..).map(number).find(|name| !names.contains(name));
        names.extend(free);
    }
    names
}

/// Names of a file, longer and longer: stem, file name, both with the folder, and so on.
fn form(file: &Path, n: usize) -> Option<String> {
    let mut parts: Vec<String> = file
        .components()
        .map(|c| c.as_os_str().to_string_lossy().into_owned())
        .collect();
    let last = parts.pop()?;
    let folders = parts.len().checked_sub(n / 2)?;
    let mut kept = parts.split_off(folders);
    kept.push(if n.is_multiple_of(2) {
        stem(file)
    } else {
        last
    });
    Some(kept.join("/"))
}

/// The name of a file without its folder, its ending, and that of an archive around it.
fn stem(file: &Path) -> String {
    let archive =
        |e: &std::ffi::OsStr| e.eq_ignore_ascii_case("gz") || e.eq_ignore_ascii_case("zst");
    let inner = match file.extension() {
        Some(ending) if archive(ending) => Path::new(file.file_stem().unwrap_or_default()),
        _ => file,
    };
    let stem = inner.file_stem().map(|s| s.to_string_lossy().into_owned());
    stem.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_name_of_its_own() {
        let names = |files: &[&str]| {
            let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
            super::names(&files)
        };
        for (files, want) in [
            (
                &["a/val.txt", "wiki.test.raw"][..],
                &["val", "wiki.test"][..],
            ),
            (
                &["a/val.txt", "b/val.txt", "c.txt.gz"],
                &["a/val", "b/val", "c"],
            ),
            (
                &["val.txt", "val.jsonl", "val.txt.gz"],
                &["val.txt", "val.jsonl", "val.txt.gz"],
            ),
            (&["x/a/val.txt", "y/a/val.txt"], &["x/a/val", "y/a/val"]),
            (
                &["a/val.txt", "a/val.txt", "val.txt"],
                &["a/val.txt", "a/val.txt (2)", "val.txt"],
            ),
            (&["val.txt", "b/val.txt"], &["val.txt", "b/val"]),
            (&["val", "val.txt"], &["val", "val.txt"]),
        ] {
            assert_eq!(names(files), want, "{files:?}");
        }
    }
}
