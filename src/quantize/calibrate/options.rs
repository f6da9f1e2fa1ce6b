//! How a model is calibrated, and what cannot be.

use crate::error::{Error, Result};
use crate::model::options::LoadOptions;
use crate::model::{Config, Method, Recipe, quantize, refuse_experts};
use crate::ops::quantize::Activations;

/// How a model is calibrated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrateOptions {
    /// Representation of the layers: a phase method.
    pub recipe: Recipe,
    /// How activations enter the quantized layers while the text runs.
    pub activations: Activations,
    /// Added to the diagonal of the inputs' second moments, in means of that diagonal.
    pub damping: f64,
    /// Tokens that go through a layer at once.
    pub batch: usize,
}

impl CalibrateOptions {
    /// The study's choices for a recipe.
    pub fn new(recipe: Recipe) -> Self {
        Self {
            recipe,
            activations: Activations::Int16,
            damping: 0.01,
            batch: 4096,
        }
    }

    /// Residual stages of the layer `prefix`.
    ///
    /// # Errors
    /// [`Error::Usage`] for another method.
    pub fn stages(&self, prefix: &str) -> Result<usize> {
        match self.recipe.method.of(prefix) {
            Method::Phase { stages } => Ok(stages),
            _ => Err(Error::usage(
                format!("calibration of {}", self.recipe),
                "only the method fairy2i is calibrated",
            )),
        }
    }
}

/// How dense layers are loaded for `sequences`.
pub(super) fn load_options(sequences: &[Vec<u32>], options: &CalibrateOptions) -> LoadOptions {
    let longest = sequences.iter().map(Vec::len).max().unwrap_or(1);
    LoadOptions {
        recipe: Recipe::FULL,
        activations: options.activations,
        context: longest,
        batch: options.batch.max(longest),
        kv: None,
        swa_full: false,
        exact: false,
    }
}

/// Refuses what cannot be calibrated, before anything is loaded.
pub(super) fn check(
    config: &Config,
    sequences: &[Vec<u32>],
    options: &CalibrateOptions,
) -> Result<()> {
    if sequences.is_empty() || sequences.iter().any(Vec::is_empty) {
        return Err(Error::usage(
            "the calibration text has no tokens",
            "give a longer text",
        ));
    }
    let most = sequences.iter().flatten().max();
    if let Some(id) = most.filter(|&&id| id as usize >= config.vocab) {
        return Err(Error::usage(
            format!("token id {id} is beyond the vocabulary of {}", config.vocab),
            "use the tokenizer that belongs to the model",
        ));
    }
    if config.blueprint().is_parallel() {
        return Err(Error::usage(
            format!(
                "calibration of a {}, whose attention and MLP run beside each other",
                config.architecture
            ),
            "quantize it without a text",
        ));
    }
    refuse_experts(config, "calibration")?;
    options.stages(Config::HEAD)?;
    quantize::check_all(config, &options.recipe)
}
