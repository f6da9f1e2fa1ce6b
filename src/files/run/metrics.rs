//! `metrics.jsonl`: one JSON object for each step.

use crate::error::{Error, Result};
use crate::files::json::show;
use crate::files::text::UTF8_MARK;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Name of the file.
pub const METRICS: &str = "metrics.jsonl";

/// What is known of a step. Numbers that are NaN or infinite are `null`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Steps made with this one, from 1.
    pub step: u64,
    /// Tokens seen with this step.
    pub tokens: u64,
    /// Mean loss of the step's labels, in nats.
    #[serde(with = "finite")]
    pub loss: f64,
    /// Learning rate.
    #[serde(with = "finite")]
    pub lr: f64,
    /// Norm of the gradient before clipping.
    #[serde(with = "finite")]
    pub grad_norm: f64,
    /// What the loss was multiplied by.
    #[serde(with = "finite")]
    pub scale: f64,
    /// Whether the weights were left as they were, because loss or gradient was not finite.
    pub skipped: bool,
    /// Seconds of training so far, those of earlier parts of the run included.
    #[serde(with = "finite")]
    pub seconds: f64,
    /// Perplexity by text, where it was measured after this step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub validation: BTreeMap<String, f64>,
}

/// JSON has no NaN.
mod finite {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        match value.is_finite() {
            true => serializer.serialize_f64(*value),
            false => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
    }
}

/// The file, open for more lines.
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Opens the file in `folder` after the first `steps` steps; later ones, which will be made again, are cut off.
    /// Returns the steps that are left, too.
    ///
    /// # Errors
    /// [`Error::File`] for a line that is none of ours, unless it is the last and unfinished; [`Error::Io`].
    pub fn open(folder: &Path, steps: u64) -> Result<(Self, Vec<Step>)> {
        let path = folder.join(METRICS);
        let io = |e| Error::io(&path, e);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(io)?;
        let (kept, length) = scan(&path, &file, steps)?;
        file.set_len(length).map_err(io)?;
        file.seek(SeekFrom::Start(length)).map_err(io)?;
        Ok((Self { path, file }, kept))
    }

    /// Adds a line. It is in the file at once, and on the disk after [`Metrics::sync`].
    pub fn add(&mut self, step: &Step) -> Result<()> {
        let written = serde_json::to_string(step)
            .map_err(std::io::Error::other)
            .and_then(|line| self.file.write_all((line + "\n").as_bytes()));
        written.map_err(|e| Error::io(&self.path, e))
    }

    /// Makes all lines durable: before a checkpoint that says they are there.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io(&self.path, e))
    }

    /// All whole lines of the file in `folder`.
    ///
    /// # Errors
    /// As [`Metrics::open`].
    pub fn read(folder: &Path) -> Result<Vec<Step>> {
        let path = folder.join(METRICS);
        let file = File::open(&path).map_err(|e| Error::io(&path, e))?;
        Ok(scan(&path, &file, u64::MAX)?.0)
    }
}

/// The lines up to step `steps`, and where they end.
fn scan(path: &Path, file: &File, steps: u64) -> Result<(Vec<Step>, u64)> {
    let mut reader = BufReader::new(file);
    let (mut kept, mut length) = (Vec::new(), 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line);
        let read = read.map_err(|e| Error::io(path, e))?;
        // A kill may leave half a line at the end.
        if read == 0 || line.last() != Some(&b'\n') {
            return Ok((kept, length));
        }
        let text = line.strip_prefix(UTF8_MARK).unwrap_or(&line);
        let step: Step = serde_json::from_slice(text).map_err(|e| {
            let place = format!("{}:{}", show(&path.to_string_lossy()), kept.len() + 1);
            Error::file(
                place,
                show(&e.to_string()),
                "repair the line, or remove the file",
            )
        })?;
        if step.step > steps {
            return Ok((kept, length));
        }
        length += read as u64;
        kept.push(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64) -> Step {
        Step {
            step,
            loss: 1.5,
            ..Step::default()
        }
    }

    #[test]
    fn resuming_cuts_what_will_be_done_again() {
        let folder = tempfile::tempdir().unwrap();
        let (mut metrics, before) = Metrics::open(folder.path(), 0).unwrap();
        assert!(before.is_empty());
        for i in 1..=5 {
            metrics.add(&step(i)).unwrap();
        }
        metrics.file.write_all(b"{\"step\": 6, \"lo").unwrap();
        metrics.sync().unwrap();
        assert_eq!(Metrics::read(folder.path()).unwrap().len(), 5);
        let (mut metrics, before) = Metrics::open(folder.path(), 3).unwrap();
        assert_eq!(before, [step(1), step(2), step(3)]);
        metrics.add(&step(4)).unwrap();
        assert_eq!(Metrics::read(folder.path()).unwrap().len(), 4);
    }

    #[test]
    fn numbers_that_are_none_are_null() {
        let folder = tempfile::tempdir().unwrap();
        let (mut metrics, _) = Metrics::open(folder.path(), 0).unwrap();
        let mut bad = step(1);
        (bad.loss, bad.grad_norm, bad.skipped) = (f64::NAN, f64::INFINITY, true);
        metrics.add(&bad).unwrap();
        let text = std::fs::read_to_string(folder.path().join(METRICS)).unwrap();
        assert!(text.contains("\"loss\":null") && text.contains("\"grad_norm\":null"));
        assert!(Metrics::read(folder.path()).unwrap()[0].loss.is_nan());
        std::fs::write(folder.path().join(METRICS), "{}\n{}\n").unwrap();
        let error = Metrics::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl:1"), "{error}");
    }
}
