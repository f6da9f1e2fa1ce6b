//! Memory that a model needs to generate, known before anything is allocated.

use super::forward::{self, LoadOptions};
use super::linear::{Linear, LinearScratch};
use super::load::stored_dtype;
use super::{Config, Method, Weights, session};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::ops::MatrixDtype;
use crate::units::memory as size;

/// The product of sizes; `usize::MAX`, which no device has, where it is larger.
pub(crate) fn product(factors: &[usize]) -> usize {
    factors.iter().fold(1, |all, &n| all.saturating_mul(n))
}

/// The sum of sizes; `usize::MAX`, which no device has, where it is larger.
pub(crate) fn sum(parts: impl IntoIterator<Item = usize>) -> usize {
    parts.into_iter().fold(0, usize::saturating_add)
}

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
        let scratch = forward::scratch_words(backend, config, options);
        let linear = LinearScratch::<B>::words(backend, config, options);
        let parts = scratch.into_iter().chain(linear).chain([rest]);
        Ok(Self {
            weights: product(&[4, weight_words::<B>(config, weights, options)?]),
            cache: product(&[4, cache]),
            scratch: product(&[4, sum(parts)]),
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
    /// [`Error::Device`] with the bytes needed and available.
    pub fn check<B: Backend>(&self, backend: &B) -> Result<()> {
        check(backend, "the model", &self.parts(), HINT)
    }
}

/// What to do where memory does not suffice.
pub(crate) const HINT: &str = "take a shorter context, smaller batches or another device";

/// Refuses what `backend` has no room for: `parts` are names and bytes.
pub(crate) fn check<B: Backend>(
    backend: &B,
    what: &str,
    parts: &[(&str, usize)],
    hint: &str,
) -> Result<()> {
    let needed = sum(parts.iter().map(|p| p.1)) as u64;
    match backend.available() {
        Some(left) if needed > left => Err(Error::device(
            format!(
                "{what} needs {} ({needed} bytes: {}), {} has {} ({left} bytes) left",
                size(needed),
                list(parts),
                backend.name(),
                size(left),
            ),
            hint,
        )),
        _ => Ok(()),
    }
}

/// `weights 12.0 MiB, KV cache 3 GiB`: the parts that are not 0.
pub fn list(parts: &[(&str, usize)]) -> String {
    let taken = parts.iter().filter(|p| p.1 > 0);
    let texts: Vec<_> = taken
        .map(|(name, bytes)| format!("{name} {}", size(*bytes as u64)))
        .collect();
    texts.join(", ")
}

/// Words of everything that [`super::Model::load`] or [`super::Model::synthetic`] brings to the device but the table.
fn weight_words<B: Backend>(
    config: &Config,
    weights: Option<&dyn Weights>,
    options: &LoadOptions,
) -> Result<usize> {
    let stored = |name: &str| -> Result<MatrixDtype> {
        let Some(weights) = weights else {
            return Ok(MatrixDtype::F16);
        };
        let tensor = weights.tensor(name)?;
        Ok(tensor.map_or(MatrixDtype::F32, |t| stored_dtype(t.dtype)))
    };
    let norms = product(&[config.hidden, config.norms().len()]);
    let embed = product(&[config.vocab, stored(Config::EMBED)?.words(config.hidden)]);
    let mut all = sum([norms, embed]);
    for layer in config.linears() {
        let packed = weights.map_or(options.recipe, |w| w.recipe());
        let head = layer.prefix == Config::HEAD;
        let recipe = match packed.method {
            // a folder that is packed was packed as a whole
            Method::Full => options.recipe,
            _ => packed,
        };
        let dense = recipe.method == Method::Full || head && recipe.skip_head;
        let words = match recipe.method.of(&layer.prefix) {
            _ if dense => {
                let stored = stored(&config.dense_name(&layer.prefix))?;
                product(&[layer.out_features, stored.row_words(layer.in_features)])
            }
            Method::Phase { stages } => {
                Linear::<B>::phase_words(&layer, stages, recipe.granularity)
            }
            // the real baselines run as dense layers
            _ => product(&[
                layer.out_features,
                MatrixDtype::F32.row_words(layer.in_features),
            ]),
        };
        all = sum([all, words]);
    }
    Ok(all)
}
