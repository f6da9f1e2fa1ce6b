//! All tensors in the files of a folder: one safetensors file, or shards with an index.

use super::json::{Unique, show};
use super::plan;
use super::safetensors::{self, Entry};
use super::source::{Contents, Source, is_plain};
use crate::error::{Error, Result};
use crate::model::Config;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Name of a checkpoint in one file.
pub const SINGLE: &str = "model.safetensors";
/// Name of the list of shards.
pub const INDEX: &str = "model.safetensors.index.json";

/// Longest index that is read.
const LONGEST_INDEX: usize = 64 << 20;

/// What the files of a folder hold, before anybody asks what they should hold.
#[derive(Default)]
pub(super) struct Shards {
    pub files: Vec<Contents>,
    /// The file of a tensor, and its place there.
    pub tensors: BTreeMap<String, (usize, Entry)>,
    /// Type and bytes of tensors whose type the format does not have.
    pub unreadable: BTreeMap<String, (String, usize)>,
    /// Tensors, each with what is wrong with its place.
    misplaced: Vec<(String, String)>,
    /// Names of tensors that are left out because they share the values of another one, with the other's name:
    /// what `save_model` of the safetensors library writes into `__metadata__`.
    aliases: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: Unique<String>,
    #[serde(default, rename = "metadata")]
    _metadata: Option<IgnoredAny>,
}

impl Shards {
    pub(super) fn open(source: &Source) -> Result<Self> {
        let mut shards = Self::default();
        if source.has(SINGLE) {
            shards.add(source, SINGLE)?;
        } else if source.has(INDEX) {
            shards.add_index(source)?;
        } else {
            let hint = if source.has("pytorch_model.bin")
                || source.has("pytorch_model.bin.index.json")
            {
                "this is a PyTorch checkpoint; convert it with transformers' save_pretrained"
            } else {
                "put model.safetensors, or shards with model.safetensors.index.json, into the folder"
            };
            return Err(Error::file(source.place(SINGLE), "is missing", hint));
        }
        Ok(shards)
    }

    /// Adds a file; returns the names of its tensors, those that are left out for another one included.
    fn add(&mut self, source: &Source, file: &str) -> Result<BTreeSet<String>> {
        let contents = source.contents(file)?;
        let listing = safetensors::listing_in(&source.place(file), &contents)?;
        let mut names = BTreeSet::new();
        for tensor in listing.unreadable {
            names.insert(tensor.name.clone());
            let place = (tensor.dtype, tensor.bytes);
            if self.unreadable.insert(tensor.name.clone(), place).is_some() {
                self.twice(&tensor.name);
            }
        }
        for entry in listing.entries {
            names.insert(entry.name.clone());
            let name = entry.name.clone();
            let place = (self.files.len(), entry);
            if self.tensors.insert(name.clone(), place).is_some() {
                self.twice(&name);
            }
        }
        for (alias, name) in listing.metadata {
            if names.contains(&name) && !names.contains(&alias) {
                self.aliases.insert(alias, name);
            }
        }
        self.files.push(contents);
        Ok(names)
    }

    fn twice(&mut self, name: &str) {
        let problem = format!("`{}` is in two shards", show(name));
        self.misplaced.push((name.to_owned(), problem));
    }

    /// Opens every shard the index names, and compares where it says that tensors are.
    fn add_index(&mut self, source: &Source) -> Result<()> {
        let place = source.place(INDEX);
        let bytes = source.read(INDEX, LONGEST_INDEX)?;
        let bad = |what: String| Error::file(&place, what, "download the file again");
        let index: Index = serde_json::from_slice(&bytes)
            .map_err(|e| bad(format!("is not a valid index: {}", show(&e.to_string()))))?;
        let mut by_shard: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (tensor, shard) in &index.weight_map.0 {
            by_shard.entry(shard).or_default().insert(tensor);
        }
        // All names first: nothing is opened by an index that points elsewhere.
        if let Some(shard) = by_shard.keys().find(|shard| !is_plain(shard)) {
            return Err(bad(format!(
                "names the shard `{}`, which is not a file of the model folder",
                show(shard)
            )));
        }
        for (shard, listed) in by_shard {
            if !source.has(shard) && listed.iter().all(|name| plan::is_buffer(name)) {
                continue;
            }
            if !source.has(shard) {
                return Err(Error::file(
                    source.place(shard),
                    format!("is missing, but {INDEX} names it"),
                    "download the shard",
                ));
            }
            let held = self.add(source, shard)?;
            self.compare(shard, &listed, &held);
        }
        Ok(())
    }

    /// Notes in what the tensors that `shard` holds differ from those that the index places there.
    fn compare(&mut self, shard: &str, listed: &BTreeSet<&str>, held: &BTreeSet<String>) {
        let held: BTreeSet<&str> = held.iter().map(String::as_str).collect();
        for &name in listed.symmetric_difference(&held) {
            let shown = show(name);
            let problem = if !listed.contains(name) {
                format!("`{shown}` is in {shard}, but not in the index")
            } else if !self.aliases.contains_key(name) {
                format!("`{shown}` is not in {shard}, where the index places it")
            } else {
                continue;
            };
            self.misplaced.push((name.to_owned(), problem));
        }
    }

    /// Gives those of `names` that were left out the place of the tensor that has their values.
    pub(super) fn follow_aliases<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names.filter(|name| !self.unreadable.contains_key(*name)) {
            let other = self.aliases.get(name).and_then(|n| self.tensors.get(n));
            if let Some(place) = other.filter(|_| !self.tensors.contains_key(name)).cloned() {
                self.tensors.insert(name.to_owned(), place);
            }
        }
    }

    /// Drops `model.` in front of all names, where a file has none of `names` and would have some of them without it: a
    /// model that was saved inside another module.
    pub(super) fn without_wrapper(&mut self, names: &[String]) {
        const WRAPPER: &str = "model.";
        let wrapped = |name: &String| self.tensors.contains_key(&format!("{WRAPPER}{name}"));
        let plain = |name: &String| self.tensors.contains_key(name);
        let head = |name: &&String| name.as_str() != Config::HEAD_WEIGHT;
        if names.iter().filter(head).any(plain) || !names.iter().any(wrapped) {
            return;
        }
        let inner: Vec<String> = self.tensors.keys().cloned().collect();
        for name in inner {
            if let Some(plain) = name.strip_prefix(WRAPPER) {
                self.rename(&name, plain);
            }
        }
    }

    /// Leaves the part that reads text of a model that reads more, if it is one: `names` are those of that part by itself. The other
    /// tensors are dropped, of which a note tells.
    pub(super) fn text_part(&mut self, names: &[String], notes: &mut Vec<String>) {
        // Where the names of the part lie, and what they begin with by themselves; transformers has saved both.
        const PLACES: [(&str, &str); 2] =
            [("language_model.", ""), ("model.language_model.", "model.")];
        let plain = |name: &String| self.tensors.contains_key(name);
        let head = |name: &&String| name.as_str() != Config::HEAD_WEIGHT;
        if names.iter().filter(head).any(plain) {
            return;
        }
        let inside = |(place, own): (&str, &str), name: &String| {
            let rest = name.strip_prefix(own)?;
            Some(format!("{place}{rest}")).filter(|name| self.tensors.contains_key(name))
        };
        let found = PLACES.into_iter().find(|&place| {
            let mut found = names
                .iter()
                .filter(head)
                .filter_map(|name| inside(place, name));
            found.next().is_some()
        });
        let Some((place, own)) = found else { return };
        let all: BTreeSet<String> = self.tensors.keys().cloned().collect();
        let mut others = BTreeSet::new();
        for name in &all {
            if let Some(rest) = name.strip_prefix(place) {
                self.rename(name, &format!("{own}{rest}"));
            } else if name != Config::HEAD_WEIGHT {
                self.tensors.remove(name);
                let inner = name.strip_prefix("model.").unwrap_or(name);
                others.insert(inner.split('.').next().unwrap_or(inner).to_owned());
            }
        }
        self.unreadable.retain(|name, _| name.starts_with(place));
        if !others.is_empty() {
            let others: Vec<_> = others.iter().map(|name| show(name)).collect();
            notes.push(format!(
                "the part that reads text alone is used, without {}",
                others.join(", ")
            ));
        }
    }

    /// Gives the tensor `from` the name `to`.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        if let Some(place) = self.tensors.remove(from) {
            self.tensors.insert(to.to_owned(), place);
            self.misplaced.retain(|(name, _)| name != to);
        }
    }

    /// The bytes of a tensor.
    pub(super) fn bytes(&self, (file, entry): &(usize, Entry)) -> std::io::Result<Cow<'_, [u8]>> {
        self.files[*file].read(entry.range.clone())
    }

    /// What is wrong with the places of tensors, but for those that nobody needs.
    pub(super) fn problems(&mut self, spare: impl Fn(&str) -> bool) -> Vec<String> {
        let all = std::mem::take(&mut self.misplaced).into_iter();
        all.filter(|(name, _)| !spare(name))
            .map(|(_, problem)| problem)
            .collect()
    }
}
