//! Numbers of the papers' own code, for every fixture file in `$FAIRY2I_FIXTURES` or `tests/data`.
//!
//! Each `*.json` is judged by the module named after its stem, on the CPU backend and on every GPU present.

#[path = "../common/mod.rs"]
mod common;
mod evaluation;
mod llama;
mod models;
mod packing;
mod plain;
mod quantizer;
mod schedules;
mod smollm2;
mod training;

use common::{Device, devices};
use fairy2i_gpu::backend::Backend;
use std::path::{Path, PathBuf};

/// Every device there is, by name; the CPU first.
pub fn all_devices() -> Vec<(String, Device)> {
    let cpu = Device::cpu();
    let mut all = vec![(cpu.name(), cpu)];
    for setup in common::setups() {
        all.push((setup.name, setup.gpu.into()));
    }
    all
}

/// `sum (a - b)^2 / sum b^2`.
pub fn nmse(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let pairs = got
        .iter()
        .zip(want)
        .map(|(&a, &b)| (f64::from(a), f64::from(b)));
    let (error, power) = pairs.fold((0.0, 0.0), |(error, power), (a, b)| {
        (error + (a - b) * (a - b), power + b * b)
    });
    error / power
}

/// What went wrong, each with its place; the number of things looked at.
#[derive(Default)]
pub struct Report {
    pub checked: usize,
    pub failures: Vec<String>,
    /// The bounded comparison that used most of its bound.
    pub worst: (f64, String),
}

impl Report {
    /// Notes one comparison.
    pub fn check(&mut self, holds: bool, failure: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.failures.push(failure());
        }
    }

    /// Notes an error that must stay within a bound; a NaN does not.
    pub fn bound(&mut self, id: &str, error: f64, bound: f64) {
        self.check(error <= bound, || {
            format!("{id}: off by {error:e}, {bound:e} allowed")
        });
        let (worst, at) = &mut self.worst;
        if error / bound > *worst {
            (*worst, *at) = (error / bound, format!("{id}: {error:e} of {bound:e}"));
        }
    }
}

/// Judges the fixture `value` that was read from `file`; `None` for a kind unknown here.
fn judge(file: &Path, value: &serde_json::Value) -> Option<Report> {
    match file.file_stem()?.to_str()? {
        "quantizer" => Some(quantizer::judge(value, &all_devices())),
        "schedules" => Some(schedules::judge(value)),
        "packing" => Some(packing::judge(value)),
        "llama" => {
            let devices = devices();
            let mut report = llama::judge(value, file.parent()?, &devices);
            println!("golden: inference, closest: {}", report.worst.1);
            training::judge(value, &devices, &mut report);
            Some(report)
        }
        "smollm2" => Some(smollm2::judge(value, devices)),
        "models" => Some(models::judge(value, file.parent()?, &devices())),
        _ => None,
    }
}

/// Where `name` lies: in the folder that the variable names, in `shared` beside a working copy, or in the test data.
pub fn find(variable: &str, shared: &str, data: &str, name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = std::env::var_os(variable).map(PathBuf::from);
    let beside = root.parent().map(|p| p.join("shared").join(shared));
    let places = named
        .into_iter()
        .chain(beside)
        .chain([root.join("tests/data").join(data)]);
    places.map(|p| p.join(name)).find(|p| p.exists())
}

fn folder() -> PathBuf {
    std::env::var_os("FAIRY2I_FIXTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"),
        PathBuf::from,
    )
}

#[test]
fn the_papers_numbers_are_met() {
    let folder = folder();
    let entries = std::fs::read_dir(&folder).expect("the folder of fixtures opens");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no fixtures in {}", folder.display());
    let (mut failures, mut known) = (Vec::new(), 0);
    for file in &files {
        let text = std::fs::read(file).expect("a fixture reads");
        let value = serde_json::from_slice(&text).expect("a fixture is JSON");
        let Some(report) = judge(file, &value) else {
            println!("golden: {}: no judge for this kind yet", file.display());
            continue;
        };
        known += 1;
        println!(
            "golden: {}: {} checks, closest: {}",
            file.display(),
            report.checked,
            report.worst.1
        );
        failures.extend(
            report
                .failures
                .iter()
                .map(|f| format!("{}: {f}", file.display())),
        );
    }
    assert!(known > 0, "nothing was judged in {}", folder.display());
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
