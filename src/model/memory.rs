//! Memory that a model needs to generate, known before anything is allocated.

use super::blueprint::WeightShape;
use super::budget::{self, product, sum};
use super::forward::MixtureScratch;
use super::linear::{Linear, LinearScratch, code_layout};
use super::loaded::scratch_words;
use super::options::LoadOptions;
use super::{Config, Dtype, Method, Weights, session};
use crate::backend::Backend;
use crate::error::Result;
use crate::ops::MatrixDtype;

/// Bytes by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Weights and scales, the embedding included.
    pub weights: usize,
    /// Keys and values of all positions of all texts.
    pub cache: usize,
    /// What a pass of tokens leaves between operations; logits, and what is chosen from them.
    pub scratch: usize,
    /// Cosines and sines of the rotary embedding, for every position.
    pub table: usize,
}

impl Memory {
    /// What `config` takes on `backend` for a session of `texts` texts. `weights` say how dense tensors are stored;
    /// without them the weights are [`super::Model::synthetic`]'s.
    ///
    /// # Errors
    /// Those of reading `weights`.
    pub fn of<B: Backend>(
        backend: &B,
        config: &Config,
        weights: Option<&dyn Weights>,
        options: &LoadOptions,
        texts: usize,
    ) -> Result<Self> {
        let [cache, rest] = session::words(backend, config, options, texts);
        let scratch = scratch_words(backend, config, options);
        let linear = LinearScratch::<B>::words(backend, config, options, &backend.facts().tuning);
        let mixture = MixtureScratch::<B>::words(backend, config, options);
        let mixture = mixture.into_iter().flatten();
        let scratch = scratch
            .into_iter()
            .chain(linear)
            .chain(mixture)
            .chain([rest]);
        Ok(Self {
            weights: product(&[4, weight_words(backend, config, weights, options)?]),
            cache: product(&[4, cache]),
            scratch: product(&[4, sum(scratch)]),
            table: product(&[4, options.context, config.head_dim / 2, 2]),
        })
    }

    /// All together.
    pub fn total(&self) -> usize {
        sum(self.parts().map(|p| p.1))
    }

    /// The parts with their names.
    pub fn parts(&self) -> [(&'static str, usize); 4] {
        [
            ("weights", self.weights),
            ("KV cache", self.cache),
            ("scratch", self.scratch),
            ("rotary table", self.table),
        ]
    }

    /// Refuses what `backend` has no room for.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) with the bytes needed and available.
    pub fn check<B: Backend>(&self, backend: &B) -> Result<()> {
        budget::check(backend, "the model", &self.parts(), budget::HINT)
    }
}

/// Words of everything that [`super::Model::load`] or [`super::Model::synthetic`] brings to the device but the table.
fn weight_words<B: Backend>(
    backend: &B,
    config: &Config,
    weights: Option<&dyn Weights>,
    options: &LoadOptions,
) -> Result<usize> {
    let dtype = |name: &str| -> Result<MatrixDtype> {
        let Some(weights) = weights else {
            return Ok(MatrixDtype::F16);
        };
        let dtype = weights.dtype(name)?;
        Ok(dtype.map_or(MatrixDtype::F32, Dtype::in_buffers))
    };
    let mut all = product(&[
        config.vocab,
        dtype(&config.embed_name())?.words(config.hidden),
    ]);
    for weight in config.weights() {
        let layer = match weight {
            WeightShape::Linear(layer) => layer,
            WeightShape::Router { name, shape } => {
                let row = dtype(&name)?.row_words(shape[1]);
                all = sum([all, product(&[shape[0], row])]);
                continue;
            }
            WeightShape::Norm { width, .. } | WeightShape::Bias { width, .. } => {
                all = sum([all, width]);
                continue;
            }
        };
        let packed = weights.map_or(options.recipe, |w| w.recipe());
        let head = layer.prefix == Config::HEAD;
        let recipe = match packed.method {
            // A packed folder was packed as a whole.
            Method::Full => options.recipe,
            _ => packed,
        };
        let dense = recipe.method == Method::Full || head && recipe.skip_head;
        let words = match recipe.method.of(&layer.prefix) {
            _ if dense => {
                let dtype = dtype(&config.dense_name(&layer.prefix))?;
                product(&[layer.out_features, dtype.row_words(layer.in_features)])
            }
            Method::Phase { stages } => {
                let layout = code_layout(backend, options.activations);
                Linear::<B>::phase_words(&layer, stages, recipe.granularity, layout)
            }
            // The real baselines run as dense layers.
            _ => product(&[
                layer.out_features,
                MatrixDtype::F32.row_words(layer.in_features),
            ]),
        };
        all = sum([all, words]);
    }
    Ok(all)
}
