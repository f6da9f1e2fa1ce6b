//! The folder of a run: locked while the run goes on, and with a record of what it was begun with.
//!
//! # `run.json`, version 1
//!
//! | field | value |
//! |---|---|
//! | `format` | `"fairy2i-gpu run 1"` |
//! | `version` | the version of this program that began the run |
//! | `run` | which run it is: 16 hexadecimal digits of a SHA-256 of its settings and inputs; the markers of `model` and `packed` say the same |
//! | `inputs` | what is read, by kind (`data`, `model`, `teacher`, `eval`): path and hash of every file |
//! | `cards` | SHA-256 of every `README.md` that was written into the folder |
//!
//! The hash of a shard of data is its SHA-256; that of every other file is a [fingerprint](crate::files::marker).

use crate::error::{Error, Result};
use crate::files::digest::hash;
use crate::files::inputs::Inputs;
use crate::files::json::show;
use crate::files::lock::Lock;
use crate::files::marker::{self, Author};
use crate::files::staging::{Destination, occupied, replace};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Name of the record.
pub const RECORD: &str = "run.json";
/// Name of a model's card.
pub const CARD: &str = "README.md";
/// Folders that a run writes at its end: its full-precision weights, and those packed.
pub const MODELS: [&str; 2] = ["model", "packed"];

const FORMAT: &str = "fairy2i-gpu run 1";
const LOCK: &str = ".fairy2i-gpu.lock";
/// Kind of input that may be another one when a run goes on.
const EVAL: &str = "eval";

/// Hashes of files by path.
pub type Files = BTreeMap<String, String>;
/// Hashes of all that a run reads, by kind: `data`, `model`, `teacher`, `eval`.
pub type Hashes = BTreeMap<String, Files>;

/// What stands in [`RECORD`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    format: String,
    version: String,
    run: String,
    inputs: Hashes,
    cards: Vec<String>,
}

impl Record {
    /// The record of a run that is begun with these settings (their text) and inputs.
    pub fn new(settings: &str, inputs: Hashes) -> Self {
        // A map of strings always has a form in JSON.
        let all = serde_json::to_string(&inputs).unwrap_or_default() + settings;
        Self {
            format: FORMAT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            run: hash(all.as_bytes())[..16].to_owned(),
            inputs,
            cards: Vec::new(),
        }
    }

    fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(RECORD);
        let bad = |what: &str| {
            let hint = "move it away, or choose another folder for the run";
            Error::file(show(&path.to_string_lossy()), what, hint)
        };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(path, e)),
        };
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(record) if record.format == FORMAT => Ok(Some(record)),
            Ok(_) => Err(bad("is of another version of this program")),
            Err(_) => Err(bad("is not the record of a run")),
        }
    }

    /// Refuses inputs that are not what they were; other texts to measure may be added or left out.
    fn check_inputs(&self, now: &Hashes) -> Result<()> {
        let empty = BTreeMap::new();
        for kind in self.inputs.keys().chain(now.keys()) {
            let then = self.inputs.get(kind).unwrap_or(&empty);
            let now = now.get(kind).unwrap_or(&empty);
            for file in then.keys().chain(now.keys()) {
                let what = match (then.get(file), now.get(file)) {
                    (Some(then), Some(now)) if then == now => continue,
                    (None, _) | (_, None) if kind == EVAL => continue,
                    (Some(_), Some(_)) => "is not what it was when the run began",
                    (Some(_), None) => "is not there any more, but the run began with it",
                    (None, _) => "was not there when the run began",
                };
                let hint = "restore what the run began with, or begin another run";
                return Err(Error::file(show(file), what, hint));
            }
        }
        Ok(())
    }
}

/// The folder of a run, which nobody else writes to as long as this value lives.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    inputs: Inputs,
    /// Let go before the folder is removed, if it was made for nothing.
    lock: Option<Lock>,
    made: bool,
    record: Option<Record>,
}

impl RunFolder {
    /// Opens the folder `path`, which is made if it is not there. `inputs` is what the run reads.
    ///
    /// # Errors
    /// [`Error::Usage`] when the folder is, holds or lies in something that is read, or when another process is
    /// training in it; [`Error::Occupied`] when something is there that a run would write, and no run wrote it;
    /// [`Error::Io`].
    pub fn open(path: &Path, inputs: Inputs) -> Result<Self> {
        inputs.keep_off(path)?;
        if fs::symlink_metadata(path).is_ok() && !path.is_dir() {
            return Err(occupied(path, "exists and is not a folder".into(), false));
        }
        let made = !path.exists();
        fs::create_dir_all(path).map_err(|e| Error::io(path, e))?;
        let lock = Lock::take(&path.join(LOCK))?;
        if lock.is_none() {
            let path = show(&path.to_string_lossy());
            let what = format!("another process is training in {path}");
            return Err(Error::usage(what, "wait for it, or choose another folder"));
        }
        let folder = Self {
            path: path.to_owned(),
            inputs,
            lock,
            made,
            record: Record::read(path)?,
        };
        if folder.record.is_none() && !folder.has_checkpoint()? {
            folder.keep_strangers()?;
        }
        Ok(folder)
    }

    /// Whether a run left a checkpoint here: one of a version that kept no record goes on, too.
    fn has_checkpoint(&self) -> Result<bool> {
        let steps = self.names()?;
        let mut steps = steps.iter().filter(|name| is_step(name));
        Ok(steps.any(|step| self.path.join(step).join("manifest.json").is_file()))
    }

    /// Refuses a folder that has something of a name that a run writes, but is none of a run.
    fn keep_strangers(&self) -> Result<()> {
        let names = self.names()?;
        let Some(name) = names.iter().find(|name| is_written(name)) else {
            return Ok(());
        };
        let what = "exists, and no run wrote it".to_owned();
        Err(occupied(&self.path.join(name), what, false))
    }

    /// Names of all that is in the folder, in alphabetical order.
    fn names(&self) -> Result<Vec<String>> {
        let io = |e| Error::io(&self.path, e);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            names.push(name.to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Refuses what would fail at the end of the run: models and a card in the folder that this run did not write. A
    /// run that goes on (`resumed`) also refuses inputs that were changed since it began; `now` is its record as it
    /// would be if it began now.
    ///
    /// # Errors
    /// [`Error::File`] naming an input, [`Error::Occupied`] naming a file in the way, [`Error::Io`].
    pub fn check(&self, resumed: bool, now: &Record) -> Result<()> {
        let then = self.record.as_ref().filter(|_| resumed);
        if let Some(then) = then {
            then.check_inputs(&now.inputs)?;
        }
        let (run, none) = (then.map_or(&now.run, |then| &then.run), Vec::new());
        for name in MODELS {
            let out = self.path.join(name);
            let mut destination = self.to(&out, run);
            destination.replace = resumed;
            destination.check().map_err(never_replaced)?;
        }
        let card = self.path.join(CARD);
        let known = then.map_or(&none, |then| &then.cards);
        match fs::read(&card) {
            Ok(text) if known.contains(&hash(&text)) => Ok(()),
            Ok(_) => {
                let what = "exists, and this run did not write it".to_owned();
                Err(occupied(&card, what, false))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::io(card, e)),
        }
    }

    /// Notes what the run begins with; if it goes on, the texts it measures from now on.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn note(&mut self, resumed: bool, now: Record) -> Result<()> {
        let record = match self.record.take().filter(|_| resumed) {
            None => now,
            Some(mut then) => {
                let eval = now.inputs.into_iter().filter(|(kind, _)| kind == EVAL);
                for (kind, files) in eval {
                    then.inputs.entry(kind).or_default().extend(files);
                }
                then
            }
        };
        self.record = Some(record);
        self.write_record()
    }

    /// Where the folder `name` of this run is written; it replaces what this run wrote.
    pub fn destination<'a>(&'a self, out: &'a Path) -> Destination<'a> {
        let run = self.record.as_ref().map_or("", |record| &record.run);
        self.to(out, run)
    }

    fn to<'a>(&'a self, out: &'a Path, run: &'a str) -> Destination<'a> {
        Destination {
            out,
            author: Author {
                command: "train",
                run: Some(run),
            },
            replace: true,
            inputs: &self.inputs,
        }
    }

    /// Writes the run's card. It is noted before, so that a kill in between does not make a stranger of it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_card(&mut self, text: &str) -> Result<()> {
        if let Some(record) = &mut self.record {
            record.cards.push(hash(text.as_bytes()));
            self.write_record()?;
        }
        replace(&self.path, CARD, text.as_bytes())
    }

    fn write_record(&self) -> Result<()> {
        let text = serde_json::to_vec_pretty(&self.record)
            .map_err(|e| Error::usage(e.to_string(), "please report this as a bug"))?;
        replace(&self.path, RECORD, &text)
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        self.lock = None;
        if self.made {
            // Only succeeds where it is empty: the run was refused before it wrote anything.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// A run has no option to replace anything, so nobody is told that it could.
fn never_replaced(error: Error) -> Error {
    match error {
        Error::Occupied { path, what, .. } => Error::Occupied {
            path,
            what,
            replaceable: false,
        },
        error => error,
    }
}

/// Whether a run writes something of this name.
fn is_written(name: &str) -> bool {
    let files = [super::RUN_CONFIG, super::METRICS, super::CURVES, CARD];
    let half = name.strip_suffix(".tmp");
    let whole = half.unwrap_or(name);
    let step = half.map(|half| half.strip_suffix(".old").unwrap_or(half));
    // Half a record is not among them: a process that is killed while it writes its first one leaves just that.
    files.contains(&whole)
        || MODELS.contains(&name)
        || name == RECORD
        || is_step(step.unwrap_or(name))
}

/// Whether it is the name of a checkpoint.
fn is_step(name: &str) -> bool {
    super::checkpoints::number(name).is_some()
}

/// Fingerprints of those of `files` that are in `folder`.
///
/// # Errors
/// [`Error::Io`].
pub fn hashes(folder: &Path, files: impl IntoIterator<Item = String>) -> Result<Files> {
    let mut all = BTreeMap::new();
    for name in files {
        let path = folder.join(&name);
        if path.is_file() {
            all.insert(path.display().to_string(), hash_of(&path)?);
        }
    }
    Ok(all)
}

/// The fingerprint of one file.
///
/// # Errors
/// [`Error::Io`].
pub fn hash_of(path: &Path) -> Result<String> {
    marker::fingerprint(path).map_err(|e| Error::io(path, e))
}
