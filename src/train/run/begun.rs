//! What a run was begun with, to be compared when it goes on.

use super::settings::Settings;
use crate::builtin;
use crate::error::Result;
use crate::files::corpus::Corpus;
use crate::files::corpus::manifest::MANIFEST;
use crate::files::folder::{INDEX, SINGLE};
use crate::files::run::folder::{Files, Hashes, hash_of, hashes};
use crate::files::run::{Record, config};
use crate::files::tokenizer::{TOKENIZER, TOKENIZER_CONFIG};
use crate::files::{CONFIG, GENERATION, gguf};
use std::path::{Path, PathBuf};

/// Files of a model that say what it computes and how its text is cut, the weights aside.
const FIELDS: [&str; 6] = [
    CONFIG,
    GENERATION,
    TOKENIZER,
    TOKENIZER_CONFIG,
    "added_tokens.json",
    "special_tokens_map.json",
];

/// The record of a run with these settings, if it began now.
pub(super) fn record(settings: &Settings, corpus: &Corpus) -> Result<Record> {
    let mut inputs = Hashes::new();
    inputs.insert("data".to_owned(), data(&settings.data, corpus)?);
    let model = settings.model.as_path();
    if !builtin::is_meant(Some(model)) {
        let weights = !settings.from_scratch;
        inputs.insert("model".to_owned(), of_model(model, weights)?);
    }
    let teacher = settings.teacher.as_path();
    if !teacher.as_os_str().is_empty() && !builtin::is_meant(Some(teacher)) {
        inputs.insert("teacher".to_owned(), of_model(teacher, true)?);
    }
    let mut eval = Files::new();
    // What comes through a pipe can be read only once.
    for text in settings.eval.iter().filter(|text| text.is_file()) {
        eval.insert(text.display().to_string(), hash_of(text)?);
    }
    inputs.insert("eval".to_owned(), eval);
    Ok(Record::new(&config::text(settings)?, inputs))
}

/// The manifest, and the shards with the hashes that it gives them: [`Corpus::verify`] compares what they hold.
fn data(folder: &Path, corpus: &Corpus) -> Result<Files> {
    let mut files = hashes(folder, [MANIFEST.to_owned()])?;
    for shard in &corpus.manifest().shards {
        let path = folder.join(&shard.file).display().to_string();
        files.insert(path, shard.sha256.clone());
    }
    Ok(files)
}

/// The files of a model, with the weights or without.
fn of_model(folder: &Path, weights: bool) -> Result<Files> {
    if folder.is_file() {
        let parts = gguf::parts(folder)?.into_iter();
        let print = |part: PathBuf| Ok((part.display().to_string(), hash_of(&part)?));
        return parts.map(print).collect();
    }
    let mut names: Vec<String> = FIELDS.map(str::to_owned).to_vec();
    if weights {
        names.extend([SINGLE.to_owned(), INDEX.to_owned()]);
        let files = builtin::sizes(Some(folder))?.into_iter();
        names.extend(files.map(|f| f.0).filter(|n| n.ends_with(".safetensors")));
    }
    hashes(folder, names)
}
