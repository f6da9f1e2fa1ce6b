//! The tensors of a file under the names of the packed format.

use super::layer::Layer;
use super::{Dialect, Layout, TILE};
use crate::error::{Error, Result};
use crate::files::gguf::shards::Shards;
use crate::files::json::show;
use crate::files::packed::little_endian;
use crate::files::plan::{self, Planned, Role};
use crate::model::config::LinearShape;
use crate::model::{Config, Dtype, Form, Method, Recipe, Tensor, Weights};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// A packed model.
pub(in super::super) struct Phases {
    file: String,
    shards: Shards,
    recipe: Recipe,
    tensors: BTreeMap<String, Stored>,
}

/// A tensor of the model.
struct Stored {
    shape: Vec<usize>,
    dtype: Dtype,
    content: Content,
}

/// Where it is.
enum Content {
    Codes(Layer),
    Scales(Layer),
    /// Floats, as they are in the tensor of this name.
    Floats(String),
    /// Two bfloat16 in each element of the tensor of this name: a column of the first half, and the one of the second.
    Pairs(String),
    /// A bias in one vector with others, which has first the first halves of all of them.
    Merged {
        name: String,
        before: usize,
        of: usize,
    },
    /// Zeros: the bias of a layer that has none in these files, though its family has.
    Zeros,
}

/// A model whose tensors are looked for.
struct Search<'a> {
    shards: &'a Shards,
    config: &'a Config,
    recipe: &'a Recipe,
    dialect: Dialect,
    linears: BTreeMap<String, LinearShape>,
    used: BTreeSet<String>,
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
        dialect: Dialect,
    ) -> Result<Self> {
        let linears = config.linears().into_iter();
        let mut search = Search {
            shards: &shards,
            config,
            recipe: &recipe,
            dialect,
            linears: linears
                .map(|linear| (linear.prefix.clone(), linear))
                .collect(),
            used: BTreeSet::new(),
        };
        let (mut problems, mut tensors) = (Vec::new(), BTreeMap::new());
        for planned in plan::plan(config, Some(&recipe)) {
            match search.find(&planned) {
                Ok(stored) => {
                    tensors.insert(planned.name, stored);
                }
                Err(problem) => problems.push(problem),
            }
        }
        let used = search.used;
        let strangers = shards.names().filter(|name| !used.contains(*name));
        problems.extend(strangers.map(|n| format!("`{}` is not a tensor of this model", show(n))));
        let file = file.to_owned();
        if !problems.is_empty() {
            return Err(Error::Tensors { file, problems });
        }
        Ok(Self {
            file,
            shards,
            recipe,
            tensors,
        })
    }

    fn unfit(&self, problem: String) -> Error {
        Error::Tensors {
            file: self.file.clone(),
            problems: vec![problem],
        }
    }
}

impl Search<'_> {
    /// Where a planned tensor is, or what is wrong with it.
    fn find(&mut self, planned: &Planned) -> Result<Stored, String> {
        let name = &planned.name;
        let (module, last) = name.rsplit_once('.').unwrap_or((name, ""));
        let names = self.dialect.names(module);
        let there = names.iter().find(|base| self.has(base, last));
        let base = there.or(names.first()).cloned();
        let base = base.ok_or_else(|| format!("`{name}` has no place in such files"))?;
        let content = match planned.role {
            Role::Codes => Content::Codes(self.layer(module, &base)?),
            Role::Scales => {
                let layer = self.layer(module, &base)?;
                if layer.layout == Layout::Bundles {
                    layer.scales(self.shards)?; // those between codes are checked when they are read
                }
                Content::Scales(layer)
            }
            Role::Dense | Role::Norm if last == "bias" => {
                self.bias(module, &base, &planned.shape)?
            }
            Role::Dense | Role::Norm if base == "token_embd" => {
                self.pairs(&base, &planned.shape)?
            }
            Role::Dense | Role::Norm => self.floats(&base, &planned.shape)?,
        };
        let dtype = match &content {
            Content::Codes(_) => Dtype::U32,
            Content::Pairs(_) => Dtype::BF16,
            Content::Floats(name) => match self.shards.tensor(name).map(|info| info.kind.name) {
                Some("F16") => Dtype::F16,
                Some("BF16") => Dtype::BF16,
                _ => Dtype::F32,
            },
            Content::Scales(_) | Content::Merged { .. } | Content::Zeros => Dtype::F32,
        };
        Ok(Stored {
            shape: planned.shape.clone(),
            dtype,
            content,
        })
    }

    /// Whether the file has a vector or matrix of this name.
    fn has(&self, base: &str, last: &str) -> bool {
        match last {
            "bias" => self.shards.tensor(&format!("{base}.bias")).is_some(),
            _ => self.shards.tensor(base).is_some(),
        }
    }

    /// The name that the layers before attention have together, how many values of it lie before those of this one, and how
    /// many it has; `None` for other layers.
    fn merged(&self, base: &str) -> Option<(String, usize, usize)> {
        let (queries, keys) = (self.config.queries(), self.config.keys());
        let (block, before) = match base.rsplit_once('.')? {
            (block, "attn_q") => (block, 0),
            (block, "attn_k") => (block, queries),
            (block, "attn_v") => (block, queries + keys),
            _ => return None,
        };
        Some((format!("{block}.attn_qkv"), before, queries + 2 * keys))
    }

    /// Where a packed layer is.
    fn layer(&mut self, module: &str, base: &str) -> Result<Layer, String> {
        let linear = self.linears.get(module);
        let linear = linear.ok_or_else(|| format!("`{module}` is no linear layer"))?;
        let (outputs, inputs, form) = (linear.out_features, linear.in_features, linear.form);
        if !outputs.is_multiple_of(2) || !inputs.is_multiple_of(2) {
            return Err(format!("`{module}` has odd sizes: [{outputs}, {inputs}]"));
        }
        let stages = match self.recipe.method.of(module) {
            Method::Phase { stages } => stages,
            _ => 0,
        };
        let mut layer = Layer {
            layout: self.dialect.layout(),
            names: Vec::new(),
            first: 0,
            of: outputs / 2 / TILE,
            rows: outputs / 2,
            columns: inputs / 2,
            branches: form.matrices() * stages,
        };
        layer.names = match (layer.layout, form) {
            (Layout::Bundles, _) => {
                let merged = self.merged(base);
                let merged =
                    merged.filter(|(name, ..)| self.has(&format!("{name}.bundle.codes"), ""));
                let mut bundle = base.to_owned();
                if let Some((name, before, of)) = merged {
                    (bundle, layer.first, layer.of) = (name, before / 2 / TILE, of / 2 / TILE);
                }
                ["codes", "scales"]
                    .map(|part| format!("{bundle}.bundle.{part}"))
                    .into()
            }
            (_, Form::Conjugate) => vec![base.to_owned()],
            (_, Form::WidelyLinear) => {
                let names = ["U", "W"]
                    .iter()
                    .flat_map(|m| (0..stages).map(move |t| (m, t)));
                names.map(|(m, t)| format!("{base}.{m}.s{t}")).collect()
            }
        };
        self.used.extend(layer.names.iter().cloned());
        match layer.problem(self.shards) {
            Some(problem) => Err(problem),
            None => Ok(layer),
        }
    }

    /// A tensor whose shape and type are these, or what is wrong with it.
    fn take(&mut self, name: &str, shape: &[usize], types: &[&str]) -> Result<(), String> {
        self.used.insert(name.to_owned());
        let info = self.shards.tensor(name);
        let info = info.ok_or_else(|| format!("`{name}` {shape:?} is missing"))?;
        if info.shape == shape && types.contains(&info.kind.name) {
            return Ok(());
        }
        let (found, kind, types) = (
            show(&format!("{:?}", info.shape)),
            info.kind.name,
            types.join(" or "),
        );
        Err(format!(
            "`{name}` is {kind} {found}, expected {types} {shape:?}"
        ))
    }

    fn floats(&mut self, name: &str, shape: &[usize]) -> Result<Content, String> {
        self.take(name, shape, &["F32", "F16", "BF16"])?;
        Ok(Content::Floats(name.to_owned()))
    }

    fn pairs(&mut self, name: &str, shape: &[usize]) -> Result<Content, String> {
        match shape {
            [rows, columns] if columns.is_multiple_of(2) => {
                self.take(name, &[*rows, columns / 2], &["F32"])?;
                Ok(Content::Pairs(name.to_owned()))
            }
            _ => Err(format!("`{name}` has an odd width: {shape:?}")),
        }
    }

    fn bias(&mut self, module: &str, base: &str, shape: &[usize]) -> Result<Content, String> {
        let own = format!("{base}.bias");
        if self.shards.tensor(&own).is_none() {
            let merged = self.merged(base);
            let merged = merged.map(|(name, before, of)| (format!("{name}.bias"), before, of));
            if let Some((name, before, of)) = merged
                && self.shards.tensor(&name).is_some()
            {
                self.take(&name, &[of], &["F32"])?;
                return Ok(Content::Merged { name, before, of });
            }
            if module.ends_with("o_proj") {
                return Ok(Content::Zeros);
            }
        }
        self.floats(&own, shape)
    }
}

impl Weights for Phases {
    fn tensor(&self, name: &str) -> Result<Option<Tensor<'_>>> {
        let Some(stored) = self.tensors.get(name) else {
            return Ok(None);
        };
        let owned = |words: &[u32]| Cow::Owned(little_endian(words).into_owned());
        let bytes = match &stored.content {
            Content::Codes(layer) => {
                let codes = layer.codes(&self.shards);
                owned(&codes.map_err(|problem| self.unfit(problem))?)
            }
            Content::Scales(layer) => {
                let scales = layer.scales(&self.shards);
                let scales = scales.map_err(|problem| self.unfit(problem))?;
                owned(bytemuck::cast_slice(&scales))
            }
            Content::Floats(name) => Cow::Borrowed(self.shards.bytes(name)),
            Content::Pairs(name) => Cow::Owned(halves(self.shards.bytes(name), &stored.shape)),
            Content::Merged { name, before, of } => {
                let (bytes, length) = (self.shards.bytes(name), stored.shape[0]);
                // Four bytes for each value, of which each half has one in two.
                let half = |start: usize| bytes.get(2 * start..2 * (start + length));
                let halves = [half(*before), half(of + before)].map(Option::unwrap_or_default);
                Cow::Owned(halves.concat())
            }
            Content::Zeros => Cow::Owned(vec![0; 4 * stored.shape[0]]),
        };
        Ok(Some(Tensor {
            dtype: stored.dtype,
            shape: stored.shape.clone(),
            bytes,
        }))
    }

    fn dtype(&self, name: &str) -> Result<Option<Dtype>> {
        Ok(self.tensors.get(name).map(|stored| stored.dtype))
    }

    fn release(&self) {
        self.shards.release();
    }

    fn recipe(&self) -> Recipe {
        self.recipe
    }
}

/// A matrix of this shape whose rows have their halves one behind the other, from elements of two columns, one of each half.
fn halves(pairs: &[u8], shape: &[usize]) -> Vec<u8> {
    let row = 2 * shape.last().copied().unwrap_or(1); // two bytes for each column
    let mut joined = Vec::with_capacity(pairs.len());
    for row in pairs.chunks_exact(row.max(1)) {
        for half in [0, 2] {
            let pairs = row.chunks_exact(4);
            pairs.for_each(|pair| joined.extend(&pair[half..half + 2]));
        }
    }
    joined
}
