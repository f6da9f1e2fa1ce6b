//! The tensors of a model folder, checked against the plan.

use super::halves::Halves;
use super::head;
use super::json::show;
use super::plan::{self, Planned, Role};
use super::safetensors::Entry;
use super::shards::Shards;
use super::source::{Contents, Source};
use crate::error::{Error, Result};
use crate::model::{Config, Dtype, Recipe, Tensor, Weights, weights};
use std::borrow::Cow;
use std::collections::BTreeMap;

pub use super::shards::{INDEX, SINGLE};

/// Problems listed one by one; a hostile file could hold millions.
const MOST_PROBLEMS: usize = 2000;

/// The validated tensors of a folder, borrowed from its files.
pub struct Folder {
    name: String,
    files: Vec<Contents>,
    tensors: BTreeMap<String, Stored>,
    recipe: Recipe,
    tied: bool,
}

/// Where a tensor is.
enum Stored {
    Whole(Place),
    /// Its real and its imaginary half, which lie together as this says in a tensor of this shape.
    Halves([Place; 2], Halves, Vec<usize>),
}

struct Place {
    file: usize,
    dtype: Dtype,
    entry: Entry,
}

impl Weights for Folder {
    fn tensor(&self, name: &str) -> Result<Option<Tensor<'_>>> {
        let Some(stored) = self.tensors.get(name) else {
            return Ok(None);
        };
        Ok(Some(match stored {
            Stored::Whole(place) => Tensor {
                dtype: place.dtype,
                shape: place.entry.shape.clone(),
                bytes: self.bytes(place)?,
            },
            Stored::Halves([re, im], halves, shape) => {
                let (dtype, bytes) = (re.dtype, [self.bytes(re)?, self.bytes(im)?]);
                let joined = halves.join(shape, dtype, bytes.each_ref().map(|half| &**half));
                Tensor {
                    dtype,
                    shape: shape.clone(),
                    bytes: Cow::Owned(joined),
                }
            }
        }))
    }

    fn dtype(&self, name: &str) -> Result<Option<Dtype>> {
        let place = self.tensors.get(name).map(|stored| match stored {
            Stored::Whole(place) | Stored::Halves([place, _], ..) => place,
        });
        Ok(place.map(|place| place.dtype))
    }

    fn release(&self) {
        self.files.iter().for_each(Contents::release);
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
        let names: Vec<String> = planned
            .iter()
            .flat_map(Planned::stored)
            .map(|s| s.0)
            .collect();
        shards.text_part(&names, &mut notes);
        shards.without_wrapper(&names);
        shards.follow_aliases(names.iter().map(String::as_str));
        let packed = plan::packs_head(recipe);
        let tied =
            config.tied && head::is_tied(&mut shards, &config.embed_name(), packed, &mut notes);
        let spare = |name: &str| plan::is_buffer(name) || tied && name == Config::HEAD_WEIGHT;
        let mut problems = shards.problems(spare);
        let mut folder = Self {
            name: source.name().to_owned(),
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
                Ok(stored) => {
                    folder.tensors.insert(planned.name, stored);
                }
                Err(found) => problems.extend(found),
            }
        }
        problems.extend(strangers(&shards));
        problems.extend(folder.bad_scales()?);
        report(source.name(), problems)?;
        Ok((folder, notes))
    }

    fn bytes(&self, place: &Place) -> Result<Cow<'_, [u8]>> {
        let bytes = self.files[place.file].read(place.entry.range.clone());
        bytes.map_err(|e| Error::io(&self.name, e))
    }

    /// Whether the head is the embedding matrix: the configuration says so, and no file holds another one.
    pub fn tied(&self) -> bool {
        self.tied
    }

    /// Scales no quantizer writes: every one would spoil a whole layer.
    fn bad_scales(&self) -> Result<Vec<String>> {
        let mut bad = Vec::new();
        for (name, stored) in &self.tensors {
            let Stored::Whole(place) = stored else {
                continue; // scales have no halves
            };
            if !name.ends_with(".scales") {
                continue;
            }
            let bytes = self.bytes(place)?;
            let values = bytes.chunks_exact(4).map(|b| {
                f32::from_le_bytes([b[0], b[1], b[2], b[3]]) // checked to be F32
            });
            if let Some((index, value)) = weights::bad_scale(values) {
                bad.push(format!("`{name}` element {index} is {value}, not a scale"));
            }
        }
        Ok(bad)
    }
}

/// Where a planned tensor is, or what is wrong with it.
fn take(shards: &mut Shards, planned: &Planned) -> Result<Stored, Vec<String>> {
    let role = planned.role;
    let (mut places, mut problems) = (Vec::new(), Vec::new());
    for (name, shape) in planned.stored() {
        match take_one(shards, role, &name, &shape) {
            Ok(place) => places.push(place),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    match (planned.halves, <[Place; 2]>::try_from(places)) {
        (Some(_), Ok([re, im])) if re.dtype != im.dtype => Err(vec![format!(
            "the halves of `{}` have types {:?} and {:?}, expected the same",
            planned.name, re.dtype, im.dtype
        )]),
        (Some(halves), Ok(places)) => Ok(Stored::Halves(places, halves, planned.shape.clone())),
        (_, Ok([place, _])) => Ok(Stored::Whole(place)),
        (_, Err(mut places)) => Ok(Stored::Whole(places.remove(0))),
    }
}

/// The place of one tensor of a file, or why there is none.
fn take_one(
    shards: &mut Shards,
    role: Role,
    name: &str,
    expected: &[usize],
) -> Result<Place, String> {
    if let Some((dtype, _)) = shards.unreadable.remove(name) {
        return Err(unexpected(role, name, &show(&dtype)));
    }
    match shards.tensors.remove(name) {
        None => Err(format!("`{name}` {} is missing", shape(expected))),
        Some((file, entry)) => {
            let dtype = fits(role, name, expected, &entry)?;
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
fn fits(role: Role, name: &str, expected: &[usize], entry: &Entry) -> Result<Dtype, String> {
    if entry.shape != expected {
        return Err(format!(
            "`{name}` has shape {}, expected {}",
            shape(&entry.shape),
            shape(expected)
        ));
    }
    head::dtype(entry.dtype)
        .filter(|dtype| role.dtypes().contains(dtype))
        .ok_or_else(|| unexpected(role, name, &format!("{:?}", entry.dtype)))
}

/// That a tensor is of type `found`.
fn unexpected(role: Role, name: &str, found: &str) -> String {
    let expected = match role {
        Role::Dense | Role::Norm => "F32, F16 or BF16",
        Role::Codes => "U32",
        Role::Scales => "F32",
    };
    format!("`{name}` has type {found}, expected {expected}")
}

/// A shape for messages: `[4096, 384]`.
fn shape(shape: &[usize]) -> String {
    show(&format!("{shape:?}"))
}

/// Refuses the tensors of a model, if anything is wrong with them.
pub(super) fn report(name: &str, mut problems: Vec<String>) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    if problems.len() > MOST_PROBLEMS {
        let more = problems.len() - MOST_PROBLEMS;
        problems.truncate(MOST_PROBLEMS);
        problems.push(format!("and {more} more"));
    }
    Err(Error::Tensors {
        file: show(name),
        problems,
    })
}
