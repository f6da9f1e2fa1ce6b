//! The parameters of a model in training: names and shapes, in a fixed order.

use crate::model::blueprint::{BlockTensor, WeightShape};
use crate::model::{Config, Form, Method, Recipe};
use crate::ops::quantize::ConjugateWeight;
use std::iter::repeat;
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
    /// The bias of a linear layer.
    Bias,
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
    /// How the weight of a linear layer is stored, and which matrices it has where it is quantized.
    pub form: Form,
    /// Complex rows of a layer whose real outputs lie together ([`ConjugateWeight::half_run`]).
    pub half_run: usize,
    /// Its rows: 1 for norms.
    pub rows: usize,
    /// Its columns: in the conjugate form complex ones.
    pub columns: usize,
}

impl Parameter {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.rows * self.columns
    }

    /// Real columns of the matrix that products take, which has [`Parameter::rows`] rows.
    pub fn real_columns(&self) -> usize {
        match self.form {
            Form::WidelyLinear => self.columns,
            Form::Conjugate => 2 * self.columns,
        }
    }

    /// Number of values of the matrix that products take.
    pub fn real_len(&self) -> usize {
        self.rows * self.real_columns()
    }

    /// How its real matrix is made, where it is not stored as such.
    pub(super) fn complex(&self) -> Option<ConjugateWeight> {
        let weight = || ConjugateWeight {
            rows: self.rows / 2,
            columns: self.columns,
            half_run: self.half_run,
        };
        (self.form == Form::Conjugate).then(weight)
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
            Kind::Norm | Kind::Bias => vec![self.columns],
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
    let n = config.blueprint().n_tensors(config);
    let first = 1 + l * n;
    first..first + n
}

/// Index of a parameter of block `l`.
pub(super) fn in_block(config: &Config, l: usize, tensor: BlockTensor) -> usize {
    of_block(config, l).start + config.blueprint().index(config, tensor)
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
        name: config.embed_name(),
        kind: Kind::Embedding,
        form: Form::WidelyLinear,
        half_run: 0,
        rows: config.vocab,
        columns: config.hidden,
    };
    let weights = config.weights().into_iter().zip(half_runs(config));
    let vector = |name, kind, columns| Parameter {
        name,
        kind,
        form: Form::WidelyLinear,
        half_run: 0,
        rows: 1,
        columns,
    };
    let weights = weights.filter_map(|(weight, half_run)| match weight {
        WeightShape::Norm { name, width } => Some(vector(name, Kind::Norm, width)),
        WeightShape::Bias { name, width } => Some(vector(name, Kind::Bias, width)),
        WeightShape::Router { .. } => None, // models with experts are refused
        WeightShape::Linear(l) if config.tied && l.prefix == Config::HEAD => None,
        WeightShape::Linear(l) => Some(Parameter {
            name: format!("{}.weight", l.prefix),
            kind: Kind::Linear,
            form: l.form,
            half_run,
            rows: l.out_features,
            columns: l.columns(),
        }),
    });
    [embed].into_iter().chain(weights).collect()
}

/// [`Parameter::half_run`] of all tensors beside the embedding.
fn half_runs(config: &Config) -> impl Iterator<Item = usize> {
    let blueprint = config.blueprint();
    let run = move |tensor| match tensor {
        BlockTensor::Layer(stack, _) => config.half_run(&blueprint.stacks[stack]),
        _ => 0,
    };
    let blocks =
        (0..config.layers).flat_map(move |_| blueprint.tensors(config, 0).into_iter().map(run));
    blocks.chain(repeat(0))
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
