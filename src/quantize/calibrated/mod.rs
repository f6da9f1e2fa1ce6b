//! A packed folder whose codes and scales are chosen with a text in view: [`calibrate_folder`].

mod allocation;
mod blocks;
mod effort;
mod measure;
mod own;
mod report;
mod room;
mod run;
mod snapshot;
mod text;
mod tune;
mod tuning;
mod weights;

pub use allocation::{AllocatedStack, Allocation};
pub use effort::Effort;
pub use report::{CalibratedBlock, CalibratedLayer, CalibrationReport, TuningReport};
pub use text::{CalibrationText, Sequences, TextSource};
pub use tuning::{BlockTuning, Tuning};

use super::calibrate::{CalibrateOptions, calibrate, calibrate_behind, fewest};
use crate::backend::{Backend, Device, block_on};
use crate::convert::QuantizeOptions;
use crate::error::{Error, Result};
use crate::files::digest::hash;
use crate::files::layers::Layers;
use crate::files::staging::{Destination, Replaced};
use crate::files::{CopyFrom, Inputs, marker, packed, plan};
use crate::generate::ModelFiles;
use crate::model::weights::{Allowing, required};
use crate::model::{Config, FirstStages, Recipe, Weights};
use blocks::{Task, by_blocks};
use measure::perplexity;
use run::{FIRST_STAGES, Run};
use snapshot::Snapshots;
use std::path::Path;
use tune::tune;
use weights::Made;

/// Name of the file in a packed folder that says how it was calibrated.
pub const CALIBRATION: &str = "calibration.json";

/// How far a calibration is.
#[derive(Debug, Clone, Copy)]
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
    /// The number of layers that an earlier run had finished, and that are taken over.
    Resumed(usize),
    /// The number of steps that an earlier run had made, and after which this one goes on.
    Continued(u64),
    /// A snapshot could not be written, and no other one will be.
    NotKept(&'a Error),
    /// A step of training a block by itself was made.
    Block {
        /// The block's name, or the head's.
        name: &'a str,
        /// Number of the step, from 1.
        step: u64,
        /// All of them.
        of: u64,
        /// Its loss, before the update.
        loss: f64,
    },
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
    /// With error feedback: the first stage is calibrated by itself, and the others on what it leaves. Of training
    /// [`Tuning::nested`] says the same.
    pub nested: bool,
}

impl Calibration {
    /// Refuses what cannot be done with a model before any work.
    fn check(&self, files: &ModelFiles, recipe: Recipe) -> Result<()> {
        files.require_full_precision()?;
        crate::model::refuse_complex(files.config(), "calibration")?;
        crate::model::refuse_experts(files.config(), "calibration")?;
        CalibrateOptions::new(recipe).stages(Config::HEAD)?;
        self.tuning.map_or(Ok(()), |tuning| tuning.check())?;
        if self.nested() && recipe.most_stages() < 2 {
            return Err(Error::usage(
                format!("a first stage by itself of {recipe}"),
                "ask for two stages or more",
            ));
        }
        let room = |bits| fewest(files.config(), &recipe, bits);
        self.bits.map(room).transpose()?;
        Ok(())
    }

    /// Whether the first stage is made to be read by itself, too.
    fn nested(&self) -> bool {
        self.tuning
            .map_or(self.nested, |tuning| tuning.nested > 0.0)
    }
}

/// Quantizes `files` into the folder `out` so that the outputs of its layers come out right on a text, not their weights.
///
/// What a run that was killed has finished is taken over by the next one with the same model, text, options and device:
/// layers of error feedback, blocks that were trained by themselves, and of training the whole model the steps up to a
/// snapshot. The same command gives the same bytes, killed in between or not.
///
/// # Errors
/// As [`crate::convert::quantize_folder`], for another method than fairy2i, and those of reading the text.
pub fn calibrate_folder(
    files: &ModelFiles,
    out: impl AsRef<Path>,
    device: &Device,
    options: QuantizeOptions,
    calibration: &Calibration,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Calibrated> {
    let text = &calibration.text;
    calibration.check(files, options.recipe)?;
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
        let original = CopyFrom {
            weights,
            allow_nonfinite: options.allow_nonfinite,
            ..opened.original()
        };
        packed::Writer::create(&destination, original, recipe, packed::SHARD_BYTES)
    };
    // Everything that could be in the way of the result is found before the work.
    let early = writer(weights, options.recipe)?;
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
    let out = out.as_ref();
    let mut done = match calibration.tuning {
        Some(tuning) => of.tuned(out, device, &sequences, (tuning, text.seed), progress)?,
        None => of.fed_back(out, device, &sequences, calibration.nested, progress)?,
    };
    progress(Step::Measuring);
    let report = of.report(calibration, device, &sequences, &mut done, allocation)?;
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
    done.journal.remove()?;
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
    blocks: Vec<CalibratedBlock>,
    /// What was kept on disk meanwhile, which is needed no more once the folder is there.
    journal: Layers,
}

impl<'a> Uncalibrated<'a> {
    /// Measures what was made of the model, and says how it was made; takes the layers out of `done`.
    fn report(
        &self,
        calibration: &Calibration,
        device: &Device,
        sequences: &Sequences,
        done: &mut Done<'_>,
        allocation: Option<Allocation>,
    ) -> Result<CalibrationReport> {
        let measure = |weights: &dyn Weights| {
            let config = &self.files.opened().config;
            block_on(device, perplexity(device, config, weights, sequences))
        };
        let [full, made] = [measure(self.weights)?, measure(&done.made)?];
        let first_stage_perplexity = match calibration.nested() {
            true => measure(&FirstStages::new(&done.made, self.recipe.first_stages(1)?))?,
            false => None,
        };
        let how = (done.method, self.recipe);
        Ok(CalibrationReport {
            perplexity: full.zip(made).map(|(full, made)| [full, made]),
            first_stage_perplexity,
            layers: std::mem::take(&mut done.layers),
            tuning: done.tuning.take(),
            allocation,
            blocks: std::mem::take(&mut done.blocks),
            ..CalibrationReport::of(&calibration.text, sequences, how, device)
        })
    }

    /// By error feedback, layer by layer; `nested` with the first stages by themselves before all others.
    fn fed_back(
        &self,
        out: &Path,
        device: &Device,
        sequences: &Sequences,
        nested: bool,
        progress: &mut dyn FnMut(Step<'_>),
    ) -> Result<Done<'a>> {
        let how = CalibrateOptions::new(self.recipe);
        let mut key = key(self.files, sequences, &format!("{how:?}"), device)?;
        let config = self.files.config();
        let layers = self.recipe.layers(config).len();
        let passes = if nested { 2 } else { 1 };
        let mut first = None;
        if nested {
            key.push_str("\nnested");
            let recipe = self.recipe.first_stages(1)?;
            let how = CalibrateOptions::new(recipe);
            let open = Layers::open(out, &key)?;
            let mut run = Run::new(open, recipe, (0, passes * layers), progress);
            run.folder = FIRST_STAGES;
            let work = calibrate(device, config, self.weights, &sequences.used, how, &mut run);
            block_on(device, work)?;
            first = Some(run.all(config)?);
        }
        let before = (passes - 1) * layers;
        let open = Layers::open(out, &key)?;
        let mut run = Run::new(open, self.recipe, (before, passes * layers), progress);
        let (of, used) = ((config, self.weights), &sequences.used);
        let work = calibrate_behind(device, of, used, how, first.as_ref(), &mut run);
        block_on(device, work)?;
        Ok(Done {
            method: match nested {
                true => "error feedback with nested stages",
                false => "error feedback",
            },
            made: Made::new(self.weights, self.recipe, run.all(config)?),
            layers: run.report,
            tuning: None,
            blocks: Vec::new(),
            journal: run.layers,
        })
    }

    /// By training, of the whole model or block by block.
    fn tuned(
        &self,
        out: &Path,
        device: &Device,
        sequences: &Sequences,
        (how, seed): (Tuning, u64),
        progress: &mut dyn FnMut(Step<'_>),
    ) -> Result<Done<'a>> {
        let (config, weights, recipe) = (self.files.config(), self.weights, self.recipe);
        let options = format!("{how:?}, {recipe:?}, seed {seed}");
        let key = key(self.files, sequences, &options, device)?;
        let (method, tuned, journal) = if let Some(each) = how.blocks {
            let task = Task {
                device,
                config,
                weights,
                recipe,
                tuning: how,
                each,
                seed,
            };
            let layers = Layers::open(out, &key)?;
            let tuned = by_blocks(task, &sequences.used, &layers, progress)?;
            ("training block by block", tuned, layers)
        } else {
            let mut snapshots = Snapshots::open(out, &key)?;
            let (of, how) = ((config, weights), (how, seed));
            let used = &sequences.used;
            let tuned = tune(device, of, used, recipe, how, &mut snapshots, progress)?;
            let layers = snapshots.into_layers();
            ("short training with learned scales", tuned, layers)
        };
        let each = tuned.layers.iter();
        Ok(Done {
            method,
            blocks: tuned.blocks,
            layers: each.map(|(name, p)| CalibratedLayer::of(name, p)).collect(),
            made: Made::new(self.weights, self.recipe, tuned.layers).with_dense(tuned.dense),
            tuning: Some(TuningReport {
                how: tuned.how,
                micro_batch: tuned.micro_batch,
                losses: tuned.losses,
            }),
            journal,
        })
    }
}

/// Everything that the bits of the result follow from.
fn key(
    files: &ModelFiles,
    sequences: &Sequences,
    options: &str,
    device: &Device,
) -> Result<String> {
    let mut lines = vec![
        format!("fairy2i-gpu {}", env!("CARGO_PKG_VERSION")),
        format!("device {}", device.name()),
        format!("text {}", sequences.sha256()),
        format!("options {options}"),
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
