//! `bench --guard FILE`: speeds against those of an earlier run, as shares of the ceilings that each run measured.

use super::model::Row;
use super::read_short;
use crate::cli::out;
use crate::error::{Error, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A stored result that must not be missed by far.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct GuardArgs {
    /// Fail where a test reaches less of the device's ceilings than in this file, which `-o json` of another run wrote
    #[arg(long, value_name = "FILE", conflicts_with_all = ["save_packed", "compare", "profile"])]
    guard: Option<PathBuf>,
    /// How much less, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 25.0, value_parser = percent)]
    guard_tolerance: f64,
}

fn percent(word: &str) -> std::result::Result<f64, String> {
    match word.parse() {
        Ok(value) if (0.0..100.0).contains(&value) => Ok(value),
        _ => Err("not a number from 0 up to 100".to_owned()),
    }
}

/// What a stored row says.
#[derive(Debug, Deserialize)]
struct Stored {
    model: String,
    method: String,
    activations: String,
    test: String,
    percent_of_copy: Option<f64>,
    percent_of_matmul: Option<f64>,
}

impl Stored {
    fn is_of(&self, row: &Row) -> bool {
        let names = [&self.model, &self.method, &self.test];
        names == [&row.model, &row.method, &row.test] && self.activations == row.activations
    }

    /// The shares that both have: name, stored and measured.
    fn shares(&self, row: &Row) -> impl Iterator<Item = (&'static str, f64, f64)> {
        let pairs = [
            ("copy", self.percent_of_copy, row.percent_of_copy),
            (
                "matrix product",
                self.percent_of_matmul,
                row.percent_of_matmul,
            ),
        ];
        let both = |(name, a, b): (_, Option<f64>, Option<f64>)| Some((name, a?, b?));
        pairs.into_iter().filter_map(both)
    }
}

/// Stored results, and how much a run may miss them by.
#[derive(Debug)]
pub(super) struct Guard {
    path: PathBuf,
    stored: Vec<Stored>,
    tolerance: f64,
}

impl GuardArgs {
    /// Reads the file, if one is given.
    pub(super) fn open(&self) -> Result<Option<Guard>> {
        let Some(path) = &self.guard else {
            return Ok(None);
        };
        Ok(Some(Guard {
            stored: read(path)?,
            path: path.clone(),
            tolerance: self.guard_tolerance,
        }))
    }
}

fn read(path: &Path) -> Result<Vec<Stored>> {
    let hint = "give what `bench -o json` printed";
    let bytes = read_short(path, hint)?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::file(path.display().to_string(), e.to_string(), hint))
}

impl Guard {
    /// Says how each test compares, on stderr.
    ///
    /// # Errors
    /// [`Error::Slow`] if one misses its stored share by more than the tolerance; [`Error::Usage`] if the file has none of
    /// these tests.
    pub(super) fn check(&self, rows: &[Row]) -> Result<()> {
        let (mut compared, mut slow) = (0, Vec::new());
        for row in rows {
            for stored in self.stored.iter().filter(|stored| stored.is_of(row)) {
                for (ceiling, before, now) in stored.shares(row) {
                    compared += 1;
                    let (model, test) = (&row.model, &row.test);
                    let what =
                        format!("{model} {test}: {now:.3} % of the {ceiling}, was {before:.3} %");
                    out::note(&format!("guard: {what}"));
                    if now < before * (1.0 - self.tolerance / 100.0) {
                        slow.push(what);
                    }
                }
            }
        }
        if compared == 0 {
            return Err(Error::usage(
                format!("{} has none of these tests", self.path.display()),
                "guard with the result of the same models, methods, activations and tests",
            ));
        }
        match slow.is_empty() {
            true => Ok(()),
            false => Err(Error::Slow(slow.join("; "))),
        }
    }
}
