//! The tensors of a model folder: one safetensors file or shards with an index, checked against the plan.

use super::json::{Unique, show};
use super::plan::{self, Planned, Role};
use super::safetensors::{self, Entry};
use super::source::{Bytes, Source, is_plain};
use crate::error::{Error, Result};
use crate::model::{Config, Dtype, Granularity, Method, Recipe, Tensor, Weights, weights};
use ::safetensors::Dtype as Stored;
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
/// Problems listed one by one; a hostile file could hold millions.
const MOST_PROBLEMS: usize = 2000;

/// The validated tensors of a folder, borrowed from its files.
pub struct Folder {
    files: Vec<Bytes>,
    tensors: BTreeMap<String, Place>,
    recipe: Recipe,
}

struct Place {
    file: usize,
    dtype: Dtype,
    entry: Entry,
}

impl Weights for Folder {
    fn tensor(&self, name: &str) -> Result<Option<Tensor<'_>>> {
        Ok(self.tensors.get(name).map(|place| Tensor {
            dtype: place.dtype,
            shape: place.entry.shape.clone(),
            bytes: Cow::Borrowed(&self.files[place.file][place.entry.range.clone()]),
        }))
    }

    fn recipe(&self) -> Recipe {
        self.recipe
    }
}

impl Folder {
    /// Opens the tensors of `source`, which must be exactly those of `config` stored by `recipe`; also returns
    /// notes about what was ignored.
    ///
    /// # Errors
    /// [`Error::File`] for a malformed file, [`Error::Tensors`] with every tensor that does not fit.
    pub fn open(
        source: &Source,
        config: &Config,
        recipe: Option<&Recipe>,
    ) -> Result<(Self, Vec<String>)> {
        let mut shards = Shards::open(source)?;
        let mut notes = Vec::new();
        let mut folder = Self {
            files: std::mem::take(&mut shards.files),
            tensors: BTreeMap::new(),
            recipe: recipe.copied().unwrap_or(Recipe {
                method: Method::Full,
                granularity: Granularity::Tensor,
                skip_head: false,
            }),
        };
        for planned in plan::plan(config, recipe) {
            match shards.tensors.remove(&planned.name) {
                None => shards.problems.push(format!(
                    "`{}` {} is missing",
                    planned.name,
                    shape(&planned.shape)
                )),
                Some((file, entry)) => match fits(&planned, &entry) {
                    Ok(dtype) => {
                        let place = Place { file, dtype, entry };
                        folder.tensors.insert(planned.name, place);
                    }
                    Err(problem) => shards.problems.push(problem),
                },
            }
        }
        for name in shards.tensors.keys() {
            match plan::tolerated(config, name) {
                Some(None) => {}
                Some(Some(why)) => notes.push(format!("`{name}` {why}")),
                None => shards
                    .problems
                    .push(format!("`{}` is not a tensor of this model", show(name))),
            }
        }
        shards.problems.extend(folder.bad_scales());
        report(source, shards.problems)?;
        Ok((folder, notes))
    }

    /// Scales no quantizer writes: every one would spoil a whole layer.
    fn bad_scales(&self) -> Vec<String> {
        let scales = self.tensors.iter().filter(|(n, _)| n.ends_with(".scales"));
        scales
            .filter_map(|(name, place)| {
                let bytes = &self.files[place.file][place.entry.range.clone()];
                let values = bytes.chunks_exact(4).map(|b| {
                    f32::from_le_bytes([b[0], b[1], b[2], b[3]]) // checked to be F32
                });
                let (index, value) = weights::bad_scale(self.recipe.method, values)?;
                Some(format!("`{name}` element {index} is {value}, not a scale"))
            })
            .collect()
    }
}

/// The element type, or why the tensor is not the planned one.
fn fits(planned: &Planned, entry: &Entry) -> Result<Dtype, String> {
    let name = &planned.name;
    if entry.shape != planned.shape {
        return Err(format!(
            "`{name}` has shape {}, expected {}",
            shape(&entry.shape),
            shape(&planned.shape)
        ));
    }
    let dtype = match entry.dtype {
        Stored::F32 => Some(Dtype::F32),
        Stored::F16 => Some(Dtype::F16),
        Stored::BF16 => Some(Dtype::BF16),
        Stored::U32 => Some(Dtype::U32),
        _ => None,
    };
    dtype
        .filter(|dtype| planned.role.dtypes().contains(dtype))
        .ok_or_else(|| {
            let expected = match planned.role {
                Role::Dense | Role::Norm => "F32, F16 or BF16",
                Role::Codes => "U32",
                Role::Scales => "F32",
            };
            format!("`{name}` has type {:?}, expected {expected}", entry.dtype)
        })
}

/// A shape for messages: `[4096, 384]`.
fn shape(shape: &[usize]) -> String {
    show(&format!("{shape:?}"))
}

fn report(source: &Source, mut problems: Vec<String>) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    if problems.len() > MOST_PROBLEMS {
        let more = problems.len() - MOST_PROBLEMS;
        problems.truncate(MOST_PROBLEMS);
        problems.push(format!("and {more} more"));
    }
    Err(Error::Tensors {
        file: show(source.name()),
        problems,
    })
}

/// All tensors of all files of a folder.
struct Shards {
    files: Vec<Bytes>,
    tensors: BTreeMap<String, (usize, Entry)>,
    problems: Vec<String>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: Unique<String>,
    #[serde(default, rename = "metadata")]
    _metadata: Option<IgnoredAny>,
}

impl Shards {
    fn open(source: &Source) -> Result<Self> {
        let mut shards = Self {
            files: Vec::new(),
            tensors: BTreeMap::new(),
            problems: Vec::new(),
        };
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

    fn add(&mut self, source: &Source, file: &str) -> Result<BTreeSet<String>> {
        let bytes = source.open(file)?;
        let mut names = BTreeSet::new();
        for entry in safetensors::entries(&source.place(file), &bytes)? {
            names.insert(entry.name.clone());
            let name = entry.name.clone();
            let place = (self.files.len(), entry);
            if self.tensors.insert(name.clone(), place).is_some() {
                self.problems
                    .push(format!("`{}` is in two shards", show(&name)));
            }
        }
        self.files.push(bytes);
        Ok(names)
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
            if !source.has(shard) {
                return Err(Error::file(
                    source.place(shard),
                    format!("is missing, but {INDEX} names it"),
                    "download the shard",
                ));
            }
            let held = self.add(source, shard)?;
            let held: BTreeSet<&str> = held.iter().map(String::as_str).collect();
            for name in listed.symmetric_difference(&held) {
                let indexed = listed.contains(name);
                let name = show(name);
                self.problems.push(if indexed {
                    format!("`{name}` is not in {shard}, where the index places it")
                } else {
                    format!("`{name}` is in {shard}, but not in the index")
                });
            }
        }
        Ok(())
    }
}
