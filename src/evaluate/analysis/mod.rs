//! A look inside a model's weights: angles, scales, errors, outliers, and what a text does to them.
//!
//! [`analyze`] looks at one linear layer after the other, on the host, and holds one of them in memory at a time. With
//! a text it also brings the model to a device and measures what enters its layers and what quantizing does to what
//! leaves them. Everything it finds is in an [`Analysis`], which serializes; [`html`] makes a page of it.

mod activations;
mod errors;
pub mod html;
mod layer;
mod outliers;
mod packed;
mod padding;
mod parallel;
mod phases;
mod planes;
mod summary;
mod weight;
mod yardsticks;

pub use activations::{Activity, InputStats, OutputError, TextOptions};
pub use errors::{GranularityErrors, StageScales};
pub use layer::{Kind, Layer};
pub use outliers::Outliers;
pub use packed::{CodeStage, Codes, PlaneCodes};
pub use padding::Padding;
pub use phases::{Phases, Share};
pub use summary::{Average, Correlation, Gain, Summary, spearman};
pub use weight::Dense;
pub use yardsticks::Yardstick;

use layer::kinds;

use crate::error::{Error, Result};
use crate::generate::ModelFiles;
use crate::model::config::LinearShape;
use crate::model::{Method, Recipe};
use serde::Serialize;

/// What to look at, and how.
#[derive(Default)]
pub struct AnalysisOptions<'a> {
    /// Go on when weights are NaN or infinite: they count as 0.
    pub allow_nonfinite: bool,
    /// Run a text through the model, too.
    pub text: Option<TextOptions<'a>>,
}

/// How far [`analyze`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Steps that are done.
    pub done: usize,
    /// All of them.
    pub of: usize,
    /// What comes next; empty at the end.
    pub next: &'a str,
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Analysis {
    /// How the model's linear layers are stored: `full precision`, or a packed recipe in words.
    pub stored: String,
    /// What was left out and why, one line each.
    pub notes: Vec<String>,
    /// The linear layers in forward order, the head last.
    pub layers: Vec<Layer>,
    /// What a text showed, if there was one.
    pub activity: Option<Activity>,
    /// The layers together.
    pub summary: Summary,
}

/// Looks into `files`; `progress` is called before every layer, before every part of the text, and at the end.
///
/// Layers that are packed have lost their full-precision weights: of those, codes and scales are described.
///
/// ```no_run
/// use fairy2i_gpu::Model;
/// use fairy2i_gpu::evaluate::analysis::{AnalysisOptions, analyze};
/// let files = Model::open("llama-folder")?;
/// let analysis = analyze(&files, &AnalysisOptions::default(), &mut |_| {})?;
/// for layer in &analysis.layers {
///     let errors = layer.dense.as_ref().and_then(|d| d.errors[0].relative_error);
///     println!("{}: {errors:?}", layer.name);
/// }
/// # Ok::<(), fairy2i_gpu::Error>(())
/// ```
///
/// # Errors
/// [`Error::Usage`] for a folder of binary or ternary weights, which have neither angles nor stages;
/// [`Error::NonFinite`] for a weight that is no number; with a text those of loading and running the model.
pub fn analyze(
    files: &ModelFiles,
    options: &AnalysisOptions<'_>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Analysis> {
    refuse_baselines(files)?;
    crate::model::refuse_complex(files.config(), "an analysis")?;
    crate::model::refuse_experts(files.config(), "an analysis")?;
    let linears = files.config().linears();
    let kinds = kinds(files.config());
    let steps = options.text.as_ref().map_or(0, TextOptions::steps);
    let of = linears.len() + steps;
    let mut layers = Vec::with_capacity(linears.len());
    for (done, (shape, of_kind)) in linears.into_iter().zip(kinds).enumerate() {
        let next = shape.prefix.as_str();
        progress(Progress { done, of, next });
        layers.push(layer(files, of_kind, shape, options.allow_nonfinite)?);
    }
    let mut done = layers.len();
    let mut next = |next: &str| {
        progress(Progress { done, of, next });
        done += 1;
    };
    let activity = options.text.as_ref().map(|text| {
        let allow = options.allow_nonfinite;
        activations::activity(files, text, allow, &mut next)
    });
    let activity = activity.transpose()?;
    progress(Progress {
        done: of,
        of,
        next: "",
    });
    Ok(Analysis {
        stored: files
            .recipe()
            .map_or_else(|| "full precision".to_owned(), |r| r.to_string()),
        notes: notes(files, activity.as_ref()),
        summary: Summary::of(&layers, activity.as_ref()),
        layers,
        activity,
    })
}

/// Refuses weights that have no codes of the phase codebook.
fn refuse_baselines(files: &ModelFiles) -> Result<()> {
    match files.recipe() {
        Some(recipe) if matches!(recipe.method, Method::Binary | Method::Ternary) => {
            Err(Error::usage(
                format!(
                    "{} is packed ({recipe}): binary and ternary weights have no angles and no stages",
                    files.opened().source.name()
                ),
                "start from the full-precision folder",
            ))
        }
        _ => Ok(()),
    }
}

/// What a reader should know about what is missing.
fn notes(files: &ModelFiles, activity: Option<&Activity>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(recipe) = files.recipe() {
        notes.push(format!(
            "the folder is packed ({recipe}): codes and scales are described; angles, errors and outliers need the full-precision folder"
        ));
        if activity.is_some() {
            notes.push(
                "errors of outputs need the full-precision folder; inputs are those of the packed model"
                    .to_owned(),
            );
        }
    }
    notes
}

/// Whether `recipe` packs this layer.
fn is_packed(recipe: Option<Recipe>, kind: Kind) -> Option<Recipe> {
    recipe.filter(|recipe| !(recipe.skip_head && kind == Kind::HEAD))
}

fn layer(
    files: &ModelFiles,
    (block, kind): (Option<usize>, Kind),
    shape: LinearShape,
    allow_nonfinite: bool,
) -> Result<Layer> {
    let (out, inputs) = (shape.out_features, shape.in_features);
    let recipe = is_packed(files.recipe(), kind);
    let (dense, codes, stages) = match recipe {
        Some(recipe) => {
            let codes = packed::codes(files.opened(), recipe, &shape)?;
            let stages = codes.stages.len();
            (None, Some(codes), stages)
        }
        None => (
            Some(weight::dense(files.opened(), &shape, allow_nonfinite)?),
            None,
            2,
        ),
    };
    Ok(Layer {
        name: shape.prefix,
        block,
        kind,
        shape: [out, inputs],
        dense,
        codes,
        padding: Padding::new(out, inputs, stages),
    })
}
