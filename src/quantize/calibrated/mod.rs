//! A packed folder whose codes and scales are chosen with a text in view: [`calibrate_folder`].

mod allocation;
mod measure;
mod own;
mod report;
mod text;
mod tune;
mod weights;

pub use allocation::{AllocatedStack, Allocation};
pub use report::{CalibratedLayer, CalibrationReport, TuningReport};
pub use text::{CalibrationText, Sequences, TextSource};
pub use tune::{Effort, Tuning};

use super::QuantizeOptions;
use crate::backend::{Backend, Device, block_on};
use crate::error::{Error, Result};
use crate::files::corpus::hash;
use crate::files::layers::Layers;
use crate::files::staging::{Destination, Replaced};
use crate::files::{Inputs, Original, marker, packed, plan};
use crate::generate::ModelFiles;
use crate::model::calibrate::{CalibrateOptions, Journal, LayerErrors, calibrate, fewest};
use crate::model::config::LinearShape;
use crate::model::weights::{Allowing, required};
use crate::model::{Config, Packed, Recipe, Weights};
use measure::perplexities;
use report::bug;
use std::collections::BTreeMap;
use std::path::Path;
use tune::tune;
use weights::Made;

/// Name of the file in a packed folder that says how it was calibrated.
pub const CALIBRATION: &str = "calibration.json";

/// How far a calibration is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step<'a> {
    /// So many tokens of own samples are drawn.
    Sampled(usize),
    /// The next stack of layers is weighed, for allocating stages.
    Weighed {
        /// The name of its first layer.
        name: &'a str,
        /// Steps that are done: each stack has two.
        done: usize,
        /// All of them.
        of: usize,
    },
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
    /// A step of training was made.
    Tuned {
        /// Its number, from 1.
        step: u64,
        /// All of them.
        of: u64,
        /// Its loss, before the update.
        loss: f64,
    },
    /// Perplexities are measured.
    Measuring,
}

/// What calibrating made.
#[derive(Debug, Clone)]
pub struct Calibrated {
    /// What stands in the folder, too.
    pub report: CalibrationReport,
    /// The folder that was there before, if one was replaced.
    pub replaced: Option<Replaced>,
}

/// How a model is calibrated.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// On what.
    pub text: CalibrationText,
    /// By training all of it for some steps, instead of error feedback.
    pub tuning: Option<Tuning>,
    /// Bits for each quantized weight, scales and padding included, under which stages are allocated; the recipe's
    /// stages are not looked at then.
    pub bits: Option<f64>,
}

/// Quantizes `files` into the folder `out` so that the outputs of its layers come out right on a text, not their weights.
///
/// With error feedback, what a run that was killed has finished is taken over by the next one with the same model, text,
/// options and device. The same command gives the same bytes, killed in between or not.
///
/// # Errors
/// As [`super::quantize_folder`], for another method than fairy2i, and those of reading the text.
pub fn calibrate_folder(
    files: &ModelFiles,
    out: impl AsRef<Path>,
    device: &Device,
    options: QuantizeOptions,
    calibration: &Calibration,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Calibrated> {
    let text = &calibration.text;
    files.require_full_precision()?;
    CalibrateOptions::new(options.recipe).stages(Config::HEAD)?;
    calibration.tuning.map_or(Ok(()), |tuning| tuning.check())?;
    let paths = text.sources.iter().filter_map(TextSource::path);
    let inputs = Inputs::of(paths);
    let destination = Destination {
        replace: options.replace,
        inputs: &inputs,
        ..Destination::new(out.as_ref(), "quantize")
    };
    let opened = files.opened();
    let weights: &dyn Weights = &Allowing(&*opened.weights, options.allow_nonfinite);
    let writer = |weights, recipe| {
        let original = Original {
            weights,
            allow_nonfinite: options.allow_nonfinite,
            ..opened.original()
        };
        packed::Writer::create(&destination, original, recipe, packed::SHARD_BYTES)
    };
    // Everything that could be in the way of the result is found before the work.
    let early = writer(weights, options.recipe)?;
    let room = |bits| fewest(files.config(), &options.recipe, bits);
    calibration.bits.map(room).transpose()?;
    let sequences = Sequences::of(text, files, device, &mut |n| progress(Step::Sampled(n)))?;
    let mut of = Uncalibrated {
        files,
        weights,
        recipe: options.recipe,
    };
    let mut allocation = None;
    if let Some(bits) = calibration.bits {
        let found = of.allocate(device, &sequences, bits, progress)?;
        of.recipe = found.0;
        allocation = Some(found.1);
    }
    let done = match calibration.tuning {
        Some(tuning) => of.tuned(device, &sequences, (tuning, text.seed), progress)?,
        None => of.fed_back(out.as_ref(), device, &sequences, progress)?,
    };
    progress(Step::Measuring);
    let work = perplexities(device, &opened.config, [weights, &done.made], &sequences);
    let report = CalibrationReport {
        perplexity: block_on(device, work)?,
        layers: done.layers,
        tuning: done.tuning,
        allocation,
        ..CalibrationReport::of(text, &sequences, (done.method, of.recipe), device)
    };
    let mut writer = match report.tuning.is_some() || of.recipe != options.recipe {
        // training has changed what was written early, or allocating what is to be written
        true => {
            drop(early);
            writer(&done.made, of.recipe)?
        }
        false => early,
    };
    for (prefix, packed) in done.made.layers() {
        writer.linear(prefix, packed)?;
    }
    writer.file(CALIBRATION, report.json()?.as_bytes())?;
    let replaced = writer.finish()?;
    if let Some(journal) = done.journal {
        journal.remove()?;
    }
    Ok(Calibrated { report, replaced })
}

/// The model that is calibrated.
struct Uncalibrated<'a> {
    files: &'a ModelFiles,
    weights: &'a dyn Weights,
    recipe: Recipe,
}

/// A calibrated model that is not written yet.
struct Done<'a> {
    /// The method, in words.
    method: &'static str,
    made: Made<'a>,
    layers: Vec<CalibratedLayer>,
    tuning: Option<TuningReport>,
    /// Layers on disk, which are needed no more once the folder is there.
    journal: Option<Layers>,
}

impl<'a> Uncalibrated<'a> {
    /// By error feedback, layer by layer.
    fn fed_back(
        &self,
        out: &Path,
        device: &Device,
        sequences: &Sequences,
        progress: &mut dyn FnMut(Step<'_>),
    ) -> Result<Done<'a>> {
        let how = CalibrateOptions::new(self.recipe);
        let key = key(self.files, sequences, &how, device)?;
        let config = self.files.config();
        let mut run = Run::new(out, &key, self.recipe, config, progress)?;
        let work = calibrate(device, config, self.weights, &sequences.used, how, &mut run);
        block_on(device, work)?;
        Ok(Done {
            method: "error feedback",
            made: Made::new(self.weights, self.recipe, run.all(config)?),
            layers: run.report,
            tuning: None,
            journal: Some(run.layers),
        })
    }

    /// By training.
    fn tuned(
        &self,
        device: &Device,
        sequences: &Sequences,
        (how, seed): (Tuning, u64),
        progress: &mut dyn FnMut(Step<'_>),
    ) -> Result<Done<'a>> {
        let of = (self.files.config(), self.weights);
        let tuned = tune(
            device,
            of,
            &sequences.used,
            self.recipe,
            (how, seed),
            progress,
        )?;
        let each = tuned.layers.iter();
        Ok(Done {
            method: "short training with learned scales",
            layers: each.map(|(name, p)| CalibratedLayer::of(name, p)).collect(),
            made: Made::new(self.weights, self.recipe, tuned.layers).with_dense(tuned.dense),
            tuning: Some(TuningReport {
                how,
                losses: tuned.losses,
            }),
            journal: None,
        })
    }
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
            weight_error: Some(errors.weights),
            output_error_before: errors.outputs.first().copied(),
            output_error: errors.outputs.last().copied(),
            bits_per_weight: packed.bits_per_weight(),
        };
        let text = serde_json::to_string(&note).map_err(bug)?;
        self.layers.write(layer, packed, &text)?;
        self.report.push(note);
        Ok(())
    }
}
