//! The model a command works on: a folder, or the one inside the program.

use super::args::{MethodName, RecipeArgs};
use super::out;
use crate::builtin::{self, BUILTIN};
use crate::error::{Error, Result};
use crate::files::{ModelFolder, hub};
use crate::model::{Dtype, Recipe};
use std::path::{Path, PathBuf};

/// Opens `model`, or the built-in one; what was ignored in its files is told on standard error.
pub(super) fn open(model: Option<&Path>) -> Result<ModelFolder> {
    let opened = builtin::open(model)?;
    for note in &opened.notes {
        out::note(&format!("note: {note}"));
    }
    Ok(opened)
}

/// How the linear layers of `opened` will be represented: as they are packed, or as `args` say. Stages of packed layers
/// are the first ones.
///
/// # Errors
/// When `args` want packed layers to be something else: their full-precision weights are gone; and for stages that they
/// do not have.
pub(super) fn recipe(opened: &ModelFolder, args: &RecipeArgs) -> Result<Recipe> {
    let blocks = opened.config.layers;
    let Some(packed) = opened.recipe else {
        return args.recipe(MethodName::Full, &opened.config);
    };
    let same = args.granularity.is_none_or(|g| g == packed.granularity)
        && args.method.is_none_or(|m| m == MethodName::Fairy2i)
        && (!args.skip_lm_head || packed.skip_head);
    let stages = args.stages.as_ref().map(|stages| stages.of(blocks));
    let stages = stages.transpose()?;
    if let Some(stages) = stages.filter(|s| s.is_uniform() && same) {
        let first = packed.first_stages(stages.base());
        return first.map_err(|error| match error {
            Error::Usage { what, hint } => {
                Error::usage(format!("{}: {what}", opened.source.name()), hint)
            }
            other => other,
        });
    }
    if args.is_given() && args.recipe(MethodName::Full, &opened.config)? != packed {
        return Err(Error::usage(
            format!("{} is packed already ({})", opened.source.name(), packed),
            "drop --method, --stages, --granularity and --skip-lm-head, or give the full-precision folder",
        ));
    }
    Ok(packed)
}

/// A path as messages and results show a model.
pub(super) fn name(model: Option<&Path>) -> String {
    let of = |path: &Path| match hub::cached_name(path) {
        Some(name) => format!("hf:{name}"),
        None => path.display().to_string(),
    };
    model.map_or_else(|| BUILTIN.to_owned(), of)
}

/// `-m`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ModelArgs {
    /// Model: a Hugging Face folder, full precision or packed, or a GGUF file; or a model of the hub,
    /// hf:OWNER/NAME[@REVISION] [default: the built-in model]
    #[arg(short, long, value_name = "FOLDER")]
    pub model: Option<PathBuf>,
}

/// `bf16`.
pub(super) fn dtype_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "f32",
        Dtype::F16 => "f16",
        Dtype::BF16 => "bf16",
        Dtype::U32 => "u32",
    }
}
