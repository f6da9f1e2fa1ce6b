//! The parameters of a model in training: names and shapes, in a fixed order.

use crate::model::blueprint::{BlockTensor, WeightShape};
use crate::model::{Config, Method, Recipe};
use std::ops::Range;

/// What a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Token embeddings; with tied embeddings the head too.
    Embedding,
    /// The weight of an RMS norm.
    Norm,
    /// The weight of a linear layer.
    Linear,
    /// Natural logarithms of the scales of a quantized layer, where those are learned.
    Scales,
}

/// One parameter: its name and shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Hugging Face's name of the tensor.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its rows: 1 for norms.
    pub rows: usize,
    /// Its columns.
    pub columns: usize,
}

impl Parameter {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.rows * self.columns
    }

    /// Name of the layer that it belongs to: its own without the last part.
    pub fn layer(&self) -> &str {
        self.name.rsplit_once('.').map_or("", |(layer, _)| layer)
    }

    /// Whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As a checkpoint has it.
    pub fn shape(&self) -> Vec<usize> {
        match self.kind {
            Kind::Norm => vec![self.columns],
            _ => vec![self.rows, self.columns],
        }
    }
}

/// Index of the embedding.
pub(super) const EMBED: usize = 0;

/// Indices of the parameters of block `l`, which follow each other as [`Blueprint::tensors`] lists them.
///
/// [`Blueprint::tensors`]: crate::model::blueprint::Blueprint::tensors
pub(super) fn of_block(config: &Config, l: usize) -> Range<usize> {
    let n = config.blueprint().n_tensors();
    let first = 1 + l * n;
    first..first + n
}

/// Index of a parameter of block `l`.
pub(super) fn in_block(config: &Config, l: usize, tensor: BlockTensor) -> usize {
    of_block(config, l).start + config.blueprint().index(tensor)
}

/// Index of the final norm.
pub(super) fn final_norm(config: &Config) -> usize {
    of_block(config, config.layers).start
}

/// Index of the head's weight: the embedding's, if they are tied.
pub(super) fn head(config: &Config) -> usize {
    if config.tied {
        EMBED
    } else {
        final_norm(config) + 1
    }
}

/// All parameters in the order of the indices above.
pub(super) fn parameters(config: &Config) -> Vec<Parameter> {
    let embed = Parameter {
        name: Config::EMBED.to_owned(),
        kind: Kind::Embedding,
        rows: config.vocab,
        columns: config.hidden,
    };
    let weights = config
        .weights()
        .into_iter()
        .filter_map(|weight| match weight {
            WeightShape::Norm { name, width } => Some(Parameter {
                name,
                kind: Kind::Norm,
                rows: 1,
                columns: width,
            }),
            WeightShape::Linear(l) if config.tied && l.prefix == Config::HEAD => None,
            WeightShape::Linear(l) => Some(Parameter {
                name: format!("{}.weight", l.prefix),
                kind: Kind::Linear,
                rows: l.out_features,
                columns: l.in_features,
            }),
        });
    [embed].into_iter().chain(weights).collect()
}

/// Indices of the parameters that a recipe quantizes, blocks first.
pub(super) fn quantized(recipe: Recipe, config: &Config, parameters: &[Parameter]) -> Vec<usize> {
    if recipe.method == Method::Full {
        return Vec::new();
    }
    let inside = final_norm(config);
    let linear = |&i: &usize| parameters[i].kind == Kind::Linear;
    let mut all: Vec<usize> = (0..inside).filter(linear).collect();
    if !recipe.skip_head {
        all.push(head(config));
    }
    all
}
