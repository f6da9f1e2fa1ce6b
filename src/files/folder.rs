//! The tensors of a model folder, checked against the plan.

use super::head;
use super::json::show;
use super::plan::{self, Planned, Role};
use super::safetensors::Entry;
use super::shards::Shards;
use super::source::{Bytes, Source};
use crate::error::{Error, Result};
use crate::model::{Config, Dtype, Recipe, Tensor, Weights, weights};
use std::borrow::Cow;
use std::collections::BTreeMap;

pub use super::shards::{INDEX, SINGLE};

/// Problems listed one by one; a hostile file could hold millions.
const MOST_PROBLEMS: usize = 2000;

/// The validated tensors of a folder, borrowed from its files.
pub struct Folder {
    files: Vec<Bytes>,
    tensors: BTreeMap<String, Place>,
    recipe: Recipe,
    tied: bool,
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
    /// notes about what was ignored. A head beside the embedding that `config` calls tied but that has values of its
    /// own is a matrix of the model: see [`Folder::tied`].
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
        let planned = plan::plan(config, recipe);
        shards.follow_aliases(planned.iter().map(|planned| planned.name.as_str()));
        let packed = plan::packs_head(recipe);
        let tied = config.tied && head::is_tied(&mut shards, packed, &mut notes);
        let spare = |name: &str| plan::is_buffer(name) || tied && name == Config::HEAD_WEIGHT;
        let mut problems = shards.problems(spare);
        let mut folder = Self {
            files: std::mem::take(&mut shards.files),
            tensors: BTreeMap::new(),
            recipe: recipe.copied().unwrap_or(Recipe::FULL),
            tied,
        };
        let config = Config {
            tied,
            ..config.clone()
        };
        for planned in plan::plan(&config, recipe) {
            match take(&mut shards, &planned) {
                Ok(place) => {
                    folder.tensors.insert(planned.name, place);
                }
                Err(problem) => problems.push(problem),
            }
        }
        problems.extend(strangers(&shards));
        problems.extend(folder.bad_scales());
        report(source, problems)?;
        Ok((folder, notes))
    }

    /// Whether the head is the embedding matrix: the configuration says so, and no file holds another one.
    pub fn tied(&self) -> bool {
        self.tied
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

/// The place of a planned tensor, or why there is none.
fn take(shards: &mut Shards, planned: &Planned) -> Result<Place, String> {
    let name = &planned.name;
    if let Some((dtype, _)) = shards.unreadable.remove(name) {
        return Err(unexpected(planned, &show(&dtype)));
    }
    match shards.tensors.remove(name) {
        None => Err(format!("`{name}` {} is missing", shape(&planned.shape))),
        Some((file, entry)) => {
            let dtype = fits(planned, &entry)?;
            Ok(Place { file, dtype, entry })
        }
    }
}

/// Tensors that are left over and that could matter.
fn strangers(shards: &Shards) -> impl Iterator<Item = String> {
    let readable = shards.tensors.keys();
    let readable = readable
        .filter(|name| !plan::is_buffer(name))
        .map(|name| format!("`{}` is not a tensor of this model", show(name)));
    let others = shards.unreadable.iter();
    let others = others
        .filter(|(name, _)| !plan::is_buffer(name))
        .map(|(name, (dtype, _))| {
            let (name, dtype) = (show(name), show(dtype));
            format!("`{name}` has type `{dtype}`, which cannot be read")
        });
    readable.chain(others)
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
    head::dtype(entry.dtype)
        .filter(|dtype| planned.role.dtypes().contains(dtype))
        .ok_or_else(|| unexpected(planned, &format!("{:?}", entry.dtype)))
}

/// That a tensor is of type `found`.
fn unexpected(planned: &Planned, found: &str) -> String {
    let expected = match planned.role {
        Role::Dense | Role::Norm => "F32, F16 or BF16",
        Role::Codes => "U32",
        Role::Scales => "F32",
    };
    format!("`{}` has type {found}, expected {expected}", planned.name)
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
