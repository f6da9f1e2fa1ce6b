//! What a model is loaded with where the caller leaves it open.

use crate::backend::Device;
use crate::error::{Error, Result};
use crate::model::memory::Memory;
use crate::model::{Config, LoadOptions, Recipe, Weights};

/// A context that is not made shorter: where it does not fit, that is an error.
const SHORTEST: usize = 512;

/// The reading that drafts for one of this recipe.
pub(super) fn drafting(recipe: Recipe, stages: usize) -> Result<Recipe> {
    let first = recipe.first_stages(stages)?;
    if first != recipe {
        return Ok(first);
    }
    Err(Error::usage(
        format!("drafts by all stages of the model ({recipe})"),
        "draft with fewer of them, of a model that has more than one",
    ))
}

/// The longest context, halved from that of `options`, that `device` has room for beside the model.
pub(super) fn roomy(
    device: &Device,
    config: &Config,
    weights: &dyn Weights,
    mut options: LoadOptions,
) -> Result<usize> {
    while options.context > SHORTEST
        && Memory::of(device, config, Some(weights), &options, 1)?
            .check(device)
            .is_err()
    {
        options.context /= 2;
    }
    Ok(options.context)
}
