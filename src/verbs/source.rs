//! The model a verb works on: a folder, or the one inside the program.

use super::args::{MethodName, RecipeArgs};
use super::out;
use crate::error::{Error, Result};
use crate::files::{self, Opened};
use crate::model::{Dtype, Granularity, Method, Recipe, Tensor, Weights};
use std::path::{Path, PathBuf};

/// What `-m` may say instead of a folder.
pub const BUILTIN: &str = "builtin";

/// Opens `model`, or the built-in one; what was ignored in its files is told on standard error.
pub fn open(model: Option<&Path>) -> Result<Opened> {
    let opened = if is_builtin(model) {
        files::open_source(crate::builtin::source())
    } else {
        files::open(model.unwrap_or(Path::new(BUILTIN)))
    }?;
    for note in &opened.notes {
        out::note(&format!("note: {note}"));
    }
    Ok(opened)
}

/// Whether `model` means the built-in model; a folder of that name wins.
pub fn is_builtin(model: Option<&Path>) -> bool {
    model.is_none_or(|path| path == Path::new(BUILTIN) && !path.exists())
}

/// Names and sizes of the model's files.
pub fn sizes(model: Option<&Path>) -> Result<Vec<(String, u64)>> {
    let Some(path) = model.filter(|_| !is_builtin(model)) else {
        let files = crate::builtin::FILES.iter();
        return Ok(files
            .map(|(n, b)| (n.to_string(), b.len() as u64))
            .collect());
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| Error::io(path, e))? {
        let entry = entry.map_err(|e| Error::io(path, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // through links, as caches have them
        let data = std::fs::metadata(entry.path()).map_err(|e| Error::io(entry.path(), e))?;
        if data.is_file() && (name.ends_with(".safetensors") || name.ends_with(".json")) {
            files.push((name, data.len()));
        }
    }
    files.sort();
    Ok(files)
}

/// How the linear layers of `opened` will be represented: as they are packed, or as `args` say.
///
/// # Errors
/// When `args` want packed layers to be something else: their full-precision weights are gone.
pub fn recipe(opened: &Opened, args: &RecipeArgs) -> Result<Recipe> {
    let Some(packed) = opened.recipe else {
        return args.recipe(MethodName::Full);
    };
    if args.is_given() && args.recipe(MethodName::Full)? != packed {
        return Err(Error::usage(
            format!(
                "{} is packed already ({})",
                opened.source.name(),
                describe(&packed)
            ),
            "drop --method, --stages, --granularity and --skip-lm-head, or give the full-precision folder",
        ));
    }
    Ok(packed)
}

/// A recipe in words.
pub fn describe(recipe: &Recipe) -> String {
    let mut text = match recipe.method {
        Method::Full => return "full precision".to_owned(),
        Method::Binary => "bitnet".to_owned(),
        Method::Ternary => "bitnet_1_58".to_owned(),
        Method::Phase { stages } => {
            let scales = match recipe.granularity {
                Granularity::Tensor => "tensor".to_owned(),
                Granularity::Row => "row".to_owned(),
                Granularity::Group(n) => format!("group of {n}"),
            };
            format!("fairy2i, stages {stages}, scales per {scales}")
        }
    };
    if recipe.skip_head {
        text.push_str(", head as stored");
    }
    text
}

/// A path as messages and results show a model.
pub fn name(model: Option<&Path>) -> String {
    model.map_or_else(|| BUILTIN.to_owned(), |path| path.display().to_string())
}

/// `-m`.
#[derive(Debug, Clone, clap::Args)]
pub struct ModelArgs {
    /// Model folder: a Hugging Face checkpoint, full precision or packed [default: the built-in model]
    #[arg(short, long, value_name = "FOLDER")]
    pub model: Option<PathBuf>,
}

/// Weights of which NaN and infinity are accepted.
struct Lenient(Box<dyn Weights + Send + Sync>);

impl Weights for Lenient {
    fn tensor(&self, name: &str) -> Result<Option<Tensor<'_>>> {
        self.0.tensor(name)
    }

    fn recipe(&self) -> Recipe {
        self.0.recipe()
    }

    fn allow_nonfinite(&self) -> bool {
        true
    }
}

/// `weights`, lenient about NaN and infinity if `allow`.
pub fn allowing(
    weights: Box<dyn Weights + Send + Sync>,
    allow: bool,
) -> Box<dyn Weights + Send + Sync> {
    if allow {
        Box::new(Lenient(weights))
    } else {
        weights
    }
}

/// The dense tensor `name` as f32.
pub fn values(weights: &dyn Weights, name: &str) -> Result<Vec<f32>> {
    let tensor = weights.tensor(name)?.ok_or_else(|| Error::Tensors {
        file: "model".to_owned(),
        problems: vec![format!("`{name}` is missing")],
    })?;
    Ok(tensor.to_f32(0..tensor.elements()))
}

/// `bf16`.
pub fn dtype_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "f32",
        Dtype::F16 => "f16",
        Dtype::BF16 => "bf16",
        Dtype::U32 => "u32",
    }
}
