//! Numbers of the papers' own code, for every fixture file in `$FAIRY2I_FIXTURES` or `tests/data`.
//!
//! Each `*.json` has a test of its own and is judged by the module named after its stem, on the CPU backend and on every
//! GPU present.

mod chat;
#[path = "../common/mod.rs"]
mod common;
mod evaluation;
mod families;
mod ifairy;
mod llama;
mod models;
mod packing;
mod plain;
mod quantizer;
mod sampling;
mod schedules;
mod smollm2;
mod training;

use common::{Device, devices};
use fairy2i_gpu::backend::Backend;
use fairy2i_gpu::ops::noise;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
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

/// Name, shape and values of a tensor.
pub type Named = (String, Vec<usize>, Vec<f32>);

/// The tensors of a model whose weights are a formula: noise of this amplitude, and in norms of a tenth around one, with a
/// seed each. `shape` says what shape the tensor of an index and a name has.
pub fn tensors(
    case: &Value,
    amplitude: f32,
    shape: impl Fn(usize, &str) -> Vec<usize>,
) -> Vec<Named> {
    let first_seed = case["first_seed"].as_u64().unwrap() as u32;
    let names = case["tensors_in_seed_order"].as_array().unwrap();
    let tensor = |(i, name): (usize, &Value)| {
        let name = name.as_str().unwrap();
        let shape = shape(i, name);
        let (norm, len) = (name.contains("norm"), shape.iter().product());
        let amplitude = if norm { 0.1 } else { amplitude };
        let mut values = noise(first_seed + i as u32, len, amplitude);
        if norm {
            values.iter_mut().for_each(|v| *v += 1.0);
        }
        (name.to_owned(), shape, values)
    };
    names.iter().enumerate().map(tensor).collect()
}

/// Writes tensors as Hugging Face does.
pub fn write(tensors: &[Named], folder: &Path) {
    let views = tensors.iter().map(|(name, shape, values)| {
        let bytes = bytemuck::cast_slice(values);
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        (name, view.unwrap())
    });
    let file = folder.join("model.safetensors");
    safetensors::serialize_to_file(views, None, &file).unwrap();
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

/// The folder of fixtures, and whether it is the repository's own, which has all of them.
fn folder() -> (PathBuf, bool) {
    match std::env::var_os("FAIRY2I_FIXTURES") {
        Some(folder) => (folder.into(), false),
        None => (
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"),
            true,
        ),
    }
}

/// Reads the fixture `stem` and has it judged; one that another set of fixtures lacks is named in the output, and so is
/// one that `needs_checkpoint` where no checkpoint is.
fn meets(
    stem: &str,
    needs_checkpoint: bool,
    judge: impl FnOnce(&serde_json::Value, &Path) -> Report,
) {
    let (folder, own) = folder();
    let file = folder.join(stem).with_extension("json");
    if !own && !file.exists() {
        println!("golden: SKIPPED, there is no {}", file.display());
        return;
    }
    let text = std::fs::read(&file).expect("a fixture reads");
    let value = serde_json::from_slice(&text).expect("a fixture is JSON");
    let report = judge(&value, &folder);
    let (file, checked) = (file.display(), report.checked);
    println!(
        "golden: {file}: {checked} checks, closest: {}",
        report.worst.1
    );
    if checked == 0 && needs_checkpoint {
        println!("golden: SKIPPED, no checkpoint of {file} is here");
    } else {
        assert!(checked > 0, "{file}: nothing was judged");
    }
    let failures = &report.failures;
    assert!(
        failures.is_empty(),
        "{} failures in {file}:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn quantizer_numbers_are_the_papers() {
    meets("quantizer", false, |value, _| {
        quantizer::judge(value, &all_devices())
    });
}

#[test]
fn tokens_are_drawn_as_transformers_filters_them() {
    let _one = common::one_at_a_time();
    meets("sampling", false, |value, _| {
        sampling::judge(value, &all_devices())
    });
}

#[test]
fn schedules_are_the_papers() {
    meets("schedules", false, |value, _| schedules::judge(value));
}

#[test]
fn blocks_of_training_data_are_the_papers() {
    meets("packing", false, |value, _| packing::judge(value));
}

#[test]
fn inference_and_training_of_a_block_are_transformers() {
    meets("llama", false, |value, folder| {
        let devices = devices();
        let mut report = llama::judge(value, folder, &devices);
        println!("golden: inference, closest: {}", report.worst.1);
        training::judge(value, &devices, &mut report);
        report
    });
}

#[test]
fn a_complex_model_is_the_papers() {
    meets("ifairy", false, |value, folder| {
        ifairy::judge(value, folder, &devices())
    });
}

#[test]
fn families_are_transformers() {
    meets("families", false, |value, folder| {
        families::judge(value, folder, &devices())
    });
}

#[test]
fn gradients_of_families_are_slopes() {
    meets("families", false, |value, folder| {
        families::judge_training(value, folder, &devices())
    });
}

#[test]
fn chats_are_written_as_transformers_writes_them() {
    meets("chat", false, |value, _| chat::judge(value));
}

#[test]
fn a_chat_models_tokens_are_transformers() {
    meets("smollm2", true, |value, _| smollm2::judge(value, devices));
}

#[test]
fn real_checkpoints_are_transformers() {
    meets("models", true, |value, folder| {
        models::judge(value, folder, &devices())
    });
}

/// What a set of fixtures has beyond the kinds above is said, and not passed over in silence.
#[test]
fn every_fixture_is_known() {
    const KNOWN: [&str; 10] = [
        "chat",
        "families",
        "quantizer",
        "sampling",
        "schedules",
        "packing",
        "llama",
        "ifairy",
        "smollm2",
        "models",
    ];
    let (folder, own) = folder();
    let entries = std::fs::read_dir(&folder).expect("the folder of fixtures opens");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let json = paths.filter(|path| path.extension().is_some_and(|e| e == "json"));
    for path in json {
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = stem == "greedy" || stem.ends_with(".tokenizer"); // of the tests of tokenizers
        let known = text || KNOWN.contains(&stem.as_str());
        if !known {
            println!("golden: SKIPPED, nobody judges {}", path.display());
        }
        assert!(known || !own, "{} is judged by no test", path.display());
    }
}
