//! A packed folder whose codes and scales are chosen with a text in view: [`calibrate_folder`].

mod own;
mod text;
mod weights;

pub use text::{CalibrationText, Sequences, TextSource};

use super::QuantizeOptions;
use crate::backend::{Backend, Device, block_on};
use crate::error::{Error, Result};
use crate::evaluate::protocol::Window;
use crate::evaluate::{self, Text};
use crate::files::corpus::hash;
use crate::files::layers::Layers;
use crate::files::staging::{Destination, Replaced};
use crate::files::{Inputs, marker, packed, plan};
use crate::generate::ModelFiles;
use crate::model::calibrate::{CalibrateOptions, Journal, LayerErrors, calibrate};
use crate::model::config::LinearShape;
use crate::model::session::IGNORED;
use crate::model::weights::{Allowing, required};
use crate::model::{Config, LoadOptions, Model, Packed, Recipe, Weights};
use crate::ops::activation::Activations;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use weights::Made;

/// Name of the file in a packed folder that says how it was calibrated.
pub const CALIBRATION: &str = "calibration.json";

/// How far a calibration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// So many tokens of own samples are drawn.
    Sampled(usize),
    /// The next layer, and how many of all are done.
    Layer {
        /// Its name.
        name: &'a str,
        /// Layers that are done.
        done: usize,
        /// All of them.
        of: usize,
    },
    /// An earlier run had finished so many layers, which are taken over.
    Resumed(usize),
    /// Perplexities are measured.
    Measuring,
}

/// A calibrated layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibratedLayer {
    /// Name without `.weight`.
    pub name: String,
    /// Outputs and inputs.
    pub shape: [usize; 2],
    /// `|Rq - R| / |R|`.
    pub weight_error: f64,
    /// `|E X| / |R' X|` over the calibration inputs, as the papers quantize the layer.
    pub output_error_before: f64,
    /// The same of the result.
    pub output_error: f64,
    /// Bits of a weight, scales and padding included.
    pub bits_per_weight: f64,
}

/// What `calibration.json` says: how a packed folder was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibrationReport {
    /// The method, in words.
    pub method: String,
    /// Version of this program.
    pub version: String,
    /// Device that it ran on.
    pub device: String,
    /// Where the text came from: names of files, or `self`.
    pub sources: Vec<String>,
    /// SHA-256 of the ids, in hexadecimal digits.
    pub text_sha256: String,
    /// Tokens of the text.
    pub tokens: usize,
    /// Tokens of a sequence.
    pub length: usize,
    /// Seed of what was chosen of the text.
    pub seed: u64,
    /// Perplexity of sequences of the same text that were held out, in full precision and calibrated; none where there
    /// were none.
    pub perplexity: Option<[f64; 2]>,
    /// Layers in forward order.
    pub layers: Vec<CalibratedLayer>,
}

/// What calibrating made.
#[derive(Debug, Clone)]
pub struct Calibrated {
    /// What stands in the folder, too.
    pub report: CalibrationReport,
    /// The folder that was there before, if one was replaced.
    pub replaced: Option<Replaced>,
}

/// Quantizes `files` into the folder `out` so that the outputs of its layers come out right on `text`, not their weights.
///
/// What a run that was killed has finished is taken over by the next one with the same model, text, options and device.
/// The same command gives the same bytes, killed in between or not.
///
/// # Errors
/// As [`super::quantize_folder`], for another method than fairy2i, and those of reading the text.
pub fn calibrate_folder(
    files: &ModelFiles,
    out: impl AsRef<Path>,
    device: &Device,
    options: QuantizeOptions,
    text: &CalibrationText,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Calibrated> {
    files.require_full_precision()?;
    let how = CalibrateOptions::new(options.recipe);
    how.stages(Config::HEAD)?;
    let paths = text.sources.iter().filter_map(TextSource::path);
    let inputs = Inputs::of(paths);
    let destination = Destination {
        replace: options.replace,
        inputs: &inputs,
        ..Destination::new(out.as_ref(), "quantize")
    };
    let opened = files.opened();
    let mut original = opened.original();
    original.allow_nonfinite = options.allow_nonfinite;
    let shard = packed::SHARD_BYTES;
    let mut writer = packed::Writer::create(&destination, original, options.recipe, shard)?;
    let mut sampled = |tokens| progress(Step::Sampled(tokens));
    let sequences = Sequences::of(text, files, device, &mut sampled)?;
    let key = key(files, &sequences, &how, device)?;
    let mut run = Run::new(out.as_ref(), &key, options.recipe, &opened.config, progress)?;
    let weights: &dyn Weights = &Allowing(&*opened.weights, options.allow_nonfinite);
    let (config, used) = (&opened.config, &sequences.used);
    let work = calibrate(device, config, weights, used, how, &mut run);
    block_on(device, work)?;
    (run.progress)(Step::Measuring);
    let made = Made::new(weights, options.recipe, run.all(config)?);
    let work = perplexities(device, config, [weights, &made], &sequences);
    let report = CalibrationReport {
        perplexity: block_on(device, work)?,
        layers: std::mem::take(&mut run.report),
        ..CalibrationReport::of(text, &sequences, options.recipe, device)
    };
    for (prefix, packed) in made.layers() {
        writer.linear(prefix, packed)?;
    }
    writer.file(CALIBRATION, report.json()?.as_bytes())?;
    let replaced = writer.finish()?;
    run.layers.remove()?;
    Ok(Calibrated { report, replaced })
}

impl CalibrationReport {
    /// What is known before anything is calibrated.
    fn of(text: &CalibrationText, sequences: &Sequences, recipe: Recipe, device: &Device) -> Self {
        Self {
            method: format!("error feedback, {recipe}"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: device.name(),
            sources: text.sources.iter().map(TextSource::name).collect(),
            text_sha256: sequences.sha256(),
            tokens: sequences.tokens(),
            length: sequences.used.iter().map(Vec::len).max().unwrap_or(0),
            seed: text.seed,
            perplexity: None,
            layers: Vec::new(),
        }
    }

    /// As the folder has it.
    fn json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).map_err(bug)?;
        Ok(text + "\n")
    }
}

/// What has no words for itself.
fn bug(error: serde_json::Error) -> Error {
    Error::usage(error.to_string(), "please report this as a bug")
}

/// Everything that the bits of the result follow from.
fn key(
    files: &ModelFiles,
    sequences: &Sequences,
    options: &CalibrateOptions,
    device: &Device,
) -> Result<String> {
    let mut lines = vec![
        format!("fairy2i-gpu {}", env!("CARGO_PKG_VERSION")),
        format!("device {}", device.name()),
        format!("text {}", sequences.sha256()),
        format!("options {options:?}"),
    ];
    let opened = files.opened();
    match opened.source.path() {
        Some(folder) => {
            let prints = marker::weights(folder)?.into_iter();
            lines.extend(prints.map(|(name, print)| format!("{name} {print}")));
        }
        // files in memory have no place to look for them again
        None => {
            for planned in plan::plan(&opened.config, None) {
                let tensor = required(&*opened.weights, &planned.name)?;
                lines.push(format!("{} {}", planned.name, hash(&tensor.bytes)));
            }
        }
    }
    Ok(lines.join("\n"))
}

/// A calibration that is written down layer by layer.
struct Run<'a> {
    layers: Layers,
    recipe: Recipe,
    of: usize,
    resumed: usize,
    report: Vec<CalibratedLayer>,
    progress: &'a mut dyn FnMut(Step<'_>),
}

impl<'a> Run<'a> {
    fn new(
        out: &Path,
        key: &str,
        recipe: Recipe,
        config: &Config,
        progress: &'a mut dyn FnMut(Step<'_>),
    ) -> Result<Self> {
        Ok(Self {
            layers: Layers::open(out, key)?,
            recipe,
            of: recipe.layers(config).len(),
            resumed: 0,
            report: Vec::new(),
            progress,
        })
    }

    fn read(&self, layer: &LinearShape) -> Result<Option<(Packed, CalibratedLayer)>> {
        let method = self.recipe.method.of(&layer.prefix);
        let granularity = self.recipe.granularity;
        let read = self.layers.read(layer, method, granularity)?;
        let with_note = read.and_then(|(packed, note)| {
            let note = serde_json::from_str(&note).ok()?;
            Some((packed, note))
        });
        Ok(with_note)
    }

    /// All layers, once they are made.
    fn all(&self, config: &Config) -> Result<BTreeMap<String, Packed>> {
        let layers = self.recipe.layers(config).into_iter();
        layers
            .map(|layer| match self.read(&layer)? {
                Some((packed, _)) => Ok((layer.prefix, packed)),
                None => Err(Error::usage(
                    format!("the finished layer {} is gone", layer.prefix),
                    "start again, and leave the folder beside the output alone",
                )),
            })
            .collect()
    }
}

impl Journal for Run<'_> {
    fn made(&mut self, layer: &LinearShape) -> Result<Option<Packed>> {
        let Some((packed, note)) = self.read(layer)? else {
            return Ok(None);
        };
        if !self.report.iter().any(|l| l.name == note.name) {
            self.report.push(note);
            self.resumed += 1;
            (self.progress)(Step::Resumed(self.resumed));
        }
        Ok(Some(packed))
    }

    fn begins(&mut self, layer: &LinearShape) {
        self.report.retain(|l| l.name != layer.prefix);
        let (done, of) = (self.report.len(), self.of);
        let name = &layer.prefix;
        (self.progress)(Step::Layer { name, done, of });
    }

    fn take(&mut self, layer: &LinearShape, packed: &Packed, errors: LayerErrors) -> Result<()> {
        let note = CalibratedLayer {
            name: layer.prefix.clone(),
            shape: [layer.out_features, layer.in_features],
            weight_error: errors.weights,
            output_error_before: errors.outputs.first().copied().unwrap_or(0.0),
            output_error: errors.outputs.last().copied().unwrap_or(0.0),
            bits_per_weight: packed.bits_per_weight(),
        };
        let text = serde_json::to_string(&note).map_err(bug)?;
        self.layers.write(layer, packed, &text)?;
        self.report.push(note);
        Ok(())
    }
}

/// Perplexities of the held-out sequences, in full precision and calibrated.
async fn perplexities(
    device: &Device,
    config: &Config,
    weights: [&dyn Weights; 2],
    sequences: &Sequences,
) -> Result<Option<[f64; 2]>> {
    let text = windows(&sequences.held_out);
    if text.count == 0 {
        return Ok(None);
    }
    let mut both = [0.0; 2];
    for (ppl, weights) in both.iter_mut().zip(weights) {
        let options = LoadOptions {
            recipe: Recipe::FULL,
            activations: Activations::Int16,
            context: sequences.held_out.iter().map(Vec::len).max().unwrap_or(1),
            batch: 2048,
            kv: None,
            exact: false,
        };
        let mut quiet = |_: &str| {};
        let model = Model::load(device.clone(), config, weights, options, &mut quiet).await?;
        let measured = evaluate::perplexity(&model, None, &text, &mut |_| {}).await?;
        *ppl = measured.summary().ppl;
    }
    Ok(Some(both))
}

/// Sequences as windows of which every token but the first is predicted.
fn windows(sequences: &[Vec<u32>]) -> Text {
    let window = |ids: &Vec<u32>| Window {
        targets: ids[1..].iter().copied().chain([IGNORED]).collect(),
        tokens: ids.clone(),
    };
    let windows: Vec<Window> = sequences.iter().map(window).collect();
    let tokens = sequences.iter().map(Vec::len).sum::<usize>();
    Text {
        name: "held out".to_owned(),
        count: tokens - sequences.len(),
        windows,
        tokens,
        ..Text::default()
    }
}
