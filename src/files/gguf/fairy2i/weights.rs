//! The tensors of a file under the names of the packed format.

use super::super::describe::stored_name;
use super::super::shards::Shards;
use super::super::{blocks, container::TensorInfo};
use super::config::layout;
use super::layout::{Bundle, Plane};
use super::{Layout, TILE};
use crate::error::{Error, Result};
use crate::files::json::show;
use crate::files::packed::little_endian;
use crate::files::plan::{self, Planned, Role};
use crate::model::weights::bad_scale;
use crate::model::{Config, Dtype, Recipe, Tensor, Weights};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// A packed model.
pub(in super::super) struct Phases {
    file: String,
    shards: Shards,
    recipe: Recipe,
    layout: Layout,
    tensors: BTreeMap<String, Stored>,
}

/// Where a tensor is.
struct Stored {
    shape: Vec<usize>,
    role: Role,
    /// Tensors of the file that it is made of: one, or the stages of U and then of W.
    names: Vec<String>,
    /// Rows of tiles that lie before those of this matrix.
    first: usize,
}

impl Phases {
    /// The tensors of `shards`, which must be exactly those of `config` packed as `recipe` says.
    ///
    /// # Errors
    /// [`Error::Tensors`] with every tensor that does not fit.
    pub(in super::super) fn open(
        file: &str,
        shards: Shards,
        config: &Config,
        recipe: Recipe,
    ) -> Result<Self> {
        let info = |name: &str| shards.tensor(name).map(|t| (t.kind.id, t.shape.clone()));
        let found = layout(info).map(|(layout, _)| layout);
        let mut phases = Self {
            file: file.to_owned(),
            recipe,
            layout: found.unwrap_or(Layout::Bundles),
            shards,
            tensors: BTreeMap::new(),
        };
        let (mut problems, mut used) = (Vec::new(), BTreeSet::new());
        for planned in plan::plan(config, Some(&recipe)) {
            match phases.take(config, &planned) {
                Ok(stored) => {
                    used.extend(stored.names.iter().cloned());
                    phases.tensors.insert(planned.name, stored);
                }
                Err(problem) => problems.push(problem),
            }
        }
        let strangers = phases.shards.names().filter(|name| !used.contains(*name));
        problems.extend(strangers.map(|n| format!("`{}` is not a tensor of this model", show(n))));
        match problems.is_empty() {
            true => Ok(phases),
            false => Err(phases.unfit(problems)),
        }
    }

    fn unfit(&self, problems: Vec<String>) -> Error {
        let file = self.file.clone();
        Error::Tensors { file, problems }
    }

    /// Where a planned tensor is, or what is wrong with it.
    fn take(&self, config: &Config, planned: &Planned) -> Result<Stored, String> {
        let name = &planned.name;
        let (module, last) = name.rsplit_once('.').unwrap_or((name, ""));
        let base =
            stored_name(module).ok_or_else(|| format!("`{name}` has no place in such files"))?;
        let (base, first) = self.merged(config, base);
        let names = match (planned.role, self.layout) {
            (Role::Codes, Layout::Bundles) => vec![format!("{base}.bundle.codes")],
            (Role::Scales, Layout::Bundles) => vec![format!("{base}.bundle.scales")],
            (Role::Codes | Role::Scales, _) => {
                let stages = 0..self.stages(module);
                let names = ["U", "W"].map(|m| stages.clone().map(move |t| (m, t)));
                let names = names.into_iter().flatten();
                names.map(|(m, t)| format!("{base}.{m}.s{t}")).collect()
            }
            (Role::Dense | Role::Norm, _) if last == "bias" => vec![format!("{base}.bias")],
            (Role::Dense | Role::Norm, _) => vec![base],
        };
        let stored = Stored {
            shape: planned.shape.clone(),
            role: planned.role,
            names,
            first,
        };
        for name in &stored.names {
            let info = self.shards.tensor(name);
            let info = info.ok_or_else(|| format!("`{name}` is missing"))?;
            self.fits(config, module, &stored, info)?;
        }
        Ok(stored)
    }

    /// The name that the layers before attention have together, where they lie together, and the rows of tiles before
    /// those of this one.
    fn merged(&self, config: &Config, base: String) -> (String, usize) {
        let (before, of_all) = match base.rsplit_once('.') {
            Some((block, "attn_q")) => (0, format!("{block}.attn_qkv")),
            Some((block, "attn_k")) => (config.queries(), format!("{block}.attn_qkv")),
            Some((block, "attn_v")) => (
                config.queries() + config.keys(),
                format!("{block}.attn_qkv"),
            ),
            _ => return (base, 0),
        };
        match self.shards.tensor(&format!("{of_all}.bundle.codes")) {
            Some(_) => (of_all, before / (2 * TILE)),
            None => (base, 0),
        }
    }

    fn stages(&self, prefix: &str) -> usize {
        match self.recipe.method.of(prefix) {
            crate::model::Method::Phase { stages } => stages,
            _ => 0,
        }
    }

    /// Refuses a tensor of the file of another shape or type.
    fn fits(
        &self,
        config: &Config,
        module: &str,
        stored: &Stored,
        info: &TensorInfo,
    ) -> Result<(), String> {
        let wrong = |expected: &str| {
            let (found, kind) = (show(&format!("{:?}", info.shape)), info.kind.name);
            Err(format!(
                "`{}` is {kind} {found}, expected {expected}",
                info.name
            ))
        };
        let branches = 2 * self.stages(module);
        let linear = config.linears().into_iter().find(|l| l.prefix == module);
        let linear = linear.map(|l| (l.out_features, l.in_features));
        match (stored.role, linear) {
            (Role::Dense | Role::Norm, _) if module == "model.embed_tokens" => {
                let half = [config.vocab, config.hidden / 2];
                match info.shape == half
                    && info.kind.name == "F32"
                    && config.hidden.is_multiple_of(2)
                {
                    true => Ok(()),
                    false => wrong(&format!("F32 {half:?}")),
                }
            }
            (Role::Dense | Role::Norm, _) => {
                let float = ["F32", "F16", "BF16"].contains(&info.kind.name);
                match info.shape == stored.shape && float {
                    true => Ok(()),
                    false => wrong(&format!("floats {:?}", stored.shape)),
                }
            }
            (_, None) => Err(format!("`{}` is no linear layer", info.name)),
            (role, Some((out, inputs))) => {
                let (rows, columns) = (out / 2, inputs / 2);
                let whole = match self.layout {
                    Layout::Bundles => {
                        let tiles = self.tiles(info, role, branches);
                        let own = rows / TILE * (columns / TILE);
                        let end = stored.first * (columns / TILE) + own;
                        let alone = !info.name.contains("attn_qkv");
                        tiles.is_some_and(|tiles| tiles == end || tiles > end && !alone)
                            && rows.is_multiple_of(TILE)
                            && columns.is_multiple_of(TILE)
                    }
                    _ => {
                        info.shape == [rows, columns]
                            && [40, 42, 44].contains(&info.kind.id)
                            && (info.kind.id == 40) == (self.layout == Layout::Rows)
                    }
                };
                match whole && out.is_multiple_of(2) && inputs.is_multiple_of(2) {
                    true => Ok(()),
                    false => wrong(&format!("codes or scales of [{rows}, {columns}]")),
                }
            }
        }
    }

    /// Tiles of a bundle; `None` where its shape is that of no bundle.
    fn tiles(&self, info: &TensorInfo, role: Role, branches: usize) -> Option<usize> {
        match (role, &info.shape[..], info.kind.name) {
            (Role::Codes, [tiles, 64, found, 16], "FAIRY2I_BUNDLE_CODES") if *found == branches => {
                Some(*tiles)
            }
            (Role::Scales, [tiles, found, 2], "F16" | "BF16") if *found == branches => Some(*tiles),
            _ => None,
        }
    }

    /// Two bfloat16 in each element: a column of the first half of the embedding, and the one of the second.
    fn embedding(&self, stored: &Stored) -> Vec<u8> {
        let bytes = self.shards.bytes(&stored.names[0]);
        let row = 2 * stored.shape[1]; // two bytes for each column
        let mut joined = Vec::with_capacity(bytes.len());
        for row in bytes.chunks_exact(row.max(1)) {
            for half in [0, 2] {
                let pairs = row.chunks_exact(4);
                pairs.for_each(|pair| joined.extend(&pair[half..half + 2]));
            }
        }
        joined
    }

    /// The stages of a layer that lie apart.
    fn planes(&self, stored: &Stored) -> Vec<Plane<'_>> {
        let planes = stored.names.iter().filter_map(|name| {
            let info = self.shards.tensor(name)?;
            Some(Plane {
                bytes: self.shards.bytes(name),
                block: info.kind.bytes as usize,
                across: info.shape[1] / info.kind.elements as usize,
            })
        });
        planes.collect()
    }

    /// `[rows, 2, stages, words]`.
    fn codes(&self, stored: &Stored) -> Vec<u32> {
        let [rows, matrices, stages, words] = stored.shape[..] else {
            return Vec::new(); // codes have four dimensions
        };
        if self.layout == Layout::Bundles {
            let across = words * crate::codebook::COLUMNS_PER_WORD / TILE;
            let bundle = Bundle {
                codes: self.shards.bytes(&stored.names[0]),
                branches: matrices * stages,
                first: stored.first * across,
                across,
            };
            return bundle.words(rows);
        }
        let planes = self.planes(stored);
        let mut all = Vec::with_capacity(rows * matrices * stages * words);
        for row in 0..rows {
            planes.iter().for_each(|plane| plane.words(row, &mut all));
        }
        all
    }

    /// `[scale blocks, groups, 2, stages, 2]`.
    fn scales(&self, stored: &Stored) -> Result<Vec<f32>> {
        let [blocks, groups, matrices, stages, _] = stored.shape[..] else {
            return Ok(Vec::new()); // scales have five dimensions
        };
        if self.layout == Layout::Bundles {
            let name = &stored.names[0];
            let kind = self.shards.tensor(name).map(|info| info.kind);
            let values = kind.and_then(|kind| blocks::dequantize(kind, self.shards.bytes(name)));
            let values = values.unwrap_or_default();
            let tile = 2 * matrices * stages;
            let start = stored.first * groups * tile;
            let own = values.get(start..start + blocks * groups * tile);
            return Ok(own.unwrap_or_default().to_vec());
        }
        let planes = self.planes(stored);
        let rows = if self.layout == Layout::Rows { 1 } else { TILE };
        let mut all = Vec::new();
        for block in 0..blocks {
            for group in 0..groups {
                for (plane, name) in planes.iter().zip(&stored.names) {
                    let scales = plane.scales(block * rows, group);
                    let mut others = (0..rows).map(|r| plane.scales(block * rows + r, group));
                    if others.any(|other| other.map(f32::to_bits) != scales.map(f32::to_bits)) {
                        let what = format!("`{name}` has several scales in a tile");
                        return Err(self.unfit(vec![what]));
                    }
                    all.extend(scales);
                }
            }
        }
        Ok(all)
    }
}

impl Weights for Phases {
    fn tensor(&self, name: &str) -> Result<Option<Tensor<'_>>> {
        let Some(stored) = self.tensors.get(name) else {
            return Ok(None);
        };
        let owned = |words: Vec<u32>| Cow::Owned(little_endian(&words).into_owned());
        let bytes = match stored.role {
            Role::Codes => owned(self.codes(stored)),
            Role::Scales => {
                let scales = self.scales(stored)?;
                if let Some((index, value)) = bad_scale(scales.iter().copied()) {
                    let what = format!("`{name}` element {index} is {value}, not a scale");
                    return Err(self.unfit(vec![what]));
                }
                owned(scales.into_iter().map(f32::to_bits).collect())
            }
            _ if stored.names[0] == "token_embd" => Cow::Owned(self.embedding(stored)),
            _ => Cow::Borrowed(self.shards.bytes(&stored.names[0])),
        };
        Ok(Some(Tensor {
            dtype: self.stored_dtype(stored),
            shape: stored.shape.clone(),
            bytes,
        }))
    }

    fn dtype(&self, name: &str) -> Result<Option<Dtype>> {
        let stored = self.tensors.get(name);
        Ok(stored.map(|stored| self.stored_dtype(stored)))
    }

    fn recipe(&self) -> Recipe {
        self.recipe
    }
}

impl Phases {
    fn stored_dtype(&self, stored: &Stored) -> Dtype {
        let kind = self
            .shards
            .tensor(&stored.names[0])
            .map(|info| info.kind.name);
        match (stored.role, kind) {
            (Role::Codes, _) => Dtype::U32,
            (Role::Scales, _) => Dtype::F32,
            _ if stored.names[0] == "token_embd" => Dtype::BF16,
            (_, Some("F16")) => Dtype::F16,
            (_, Some("BF16")) => Dtype::BF16,
            _ => Dtype::F32,
        }
    }
}
