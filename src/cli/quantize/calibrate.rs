//! `quantize --calibrate`: codes and scales that are chosen with a text in view.

use super::Quantize;
use crate::backend::Device;
use crate::cli::{device, folders, out};
use crate::convert::QuantizeOptions;
use crate::error::{Error, Result};
use crate::generate::ModelFiles;
use crate::model::{Config, Recipe};
use crate::quantize::calibrated::{
    BlockTuning, Calibrated, CalibratedBlock, CalibratedLayer, Calibration, CalibrationReport,
    CalibrationText, Effort, Step, TextSource, Tuning, calibrate_folder,
};
use crate::train::step::{Masters, Moments};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// What `--tune` says.
#[derive(Debug, Clone, Copy)]
enum Tune {
    /// So many steps of the whole model.
    Steps(u64),
    /// Block by block.
    Blocks,
}

impl std::str::FromStr for Tune {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.parse() {
            Ok(steps) if steps > 0 => Ok(Self::Steps(steps)),
            Err(_) if text == "blocks" => Ok(Self::Blocks),
            _ => Err("a number of steps from 1 on, or `blocks`".to_owned()),
        }
    }
}

/// What to calibrate with.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Calibration")]
pub(super) struct CalibrateArgs {
    /// Choose codes and scales so that the outputs of layers come out right on this text: files as `data` takes them,
    /// `builtin` for a mixed text that is part of the program, or `self` for the model's own samples; several give equal
    /// shares
    #[arg(long, value_name = "TEXT", num_args = 1..)]
    calibrate: Vec<PathBuf>,
    /// What it may cost [default: good on a GPU that has room to train the model, with files of 4 MB and more; else fast]
    #[arg(long, value_enum, requires = "calibrate")]
    effort: Option<Effort>,
    /// Train the whole model for N steps with learned scales and the full-precision model as the teacher, instead of
    /// error feedback; from 50 steps on. `blocks`: one block after the other, then scales and norms of all, for models
    /// that a device has no room to train
    #[arg(
        long,
        value_name = "N|blocks",
        requires = "calibrate",
        conflicts_with = "effort"
    )]
    tune: Option<Tune>,
    /// Allocate stages so that a weight takes BITS on average, scales and padding included: more of them where the model's
    /// predictions need them most, by block and kind of layer. The stages found are printed as `--stages` takes them
    #[arg(
        long,
        value_name = "BITS",
        requires = "calibrate",
        conflicts_with = "stages"
    )]
    bits: Option<f64>,
    /// Of training block by block: steps of each block [default: 300]
    #[arg(long, value_name = "N", requires = "tune")]
    tune_block_steps: Option<u64>,
    /// Of training block by block: steps of scales and norms at the end [default: 100]
    #[arg(long, value_name = "N", requires = "tune")]
    tune_last_steps: Option<u64>,
    /// Of training: sequences of a step [default: 64; of a block 32, and twice as many at the end]
    #[arg(long, value_name = "N", requires = "calibrate")]
    tune_batch: Option<usize>,
    /// Of training: largest learning rate [default: 0.001]
    #[arg(long, value_name = "LR", requires = "calibrate")]
    tune_lr: Option<f64>,
    /// Of training: share of the teacher in the loss [default: 0.5]
    #[arg(long, value_name = "SHARE", requires = "calibrate")]
    tune_distill: Option<f64>,
    /// Of training: bits of AdamW's moments between steps [default: the most that the device has room for]
    #[arg(long, value_enum, value_name = "32|16|8", requires = "calibrate")]
    tune_moments: Option<Moments>,
    /// Of training: what the masters of quantized layers are held in between steps [default: f32]
    #[arg(long, value_enum, value_name = "f32|bf16", requires = "calibrate")]
    tune_masters: Option<Masters>,
    /// Make the first stage of each layer a model by itself, too (`generate --stages 1`): calibrated before the others, or
    /// with SHARE of the loss of training [0.5 where none is given]
    #[arg(long, value_name = "SHARE", requires = "calibrate", num_args = 0..=1, require_equals = true, default_missing_value = "0.5")]
    nested: Option<f64>,
    /// Tokens of the text that are used, at most [default: 131072; on the CPU 32768; of training what its
    /// steps ask for, block by block 262144; on the CPU 65536]
    #[arg(long, value_name = "N", requires = "calibrate")]
    calibrate_tokens: Option<usize>,
    /// Tokens of a sequence [at most the model's context]
    #[arg(long, value_name = "N", default_value_t = CalibrationText::LENGTH, requires = "calibrate")]
    calibrate_length: usize,
    /// Chooses the part of the text that is used, and own samples
    #[arg(long, value_name = "N", default_value_t = 42, requires = "calibrate")]
    seed: u64,
}

impl CalibrateArgs {
    /// The text, in the amount that suits `device` or training.
    fn calibration(&self, device: &Device, config: &Config, recipe: Recipe) -> Result<Calibration> {
        let source = |path: &PathBuf| match path.to_str() {
            Some("builtin") if !path.exists() => TextSource::Builtin,
            Some("self") if !path.exists() => TextSource::Own,
            _ => TextSource::File(path.clone()),
        };
        let sources: Vec<_> = self.calibrate.iter().map(source).collect();
        let usual = || Effort::usual(device, config, recipe, &sources);
        let tuning = match (self.tune, self.effort) {
            (Some(Tune::Steps(steps)), _) => Some(Tuning::new(steps)),
            (Some(Tune::Blocks), _) => Some(Tuning::by_blocks()),
            (None, Some(effort)) => effort.tuning(),
            (None, None) => usual().tuning(),
        };
        let tuning = tuning.map(|usual| self.changed(usual)).transpose()?;
        let usual = CalibrationText::new(sources, device);
        let tokens = tuning.map_or(usual.tokens, |t| t.tokens(self.calibrate_length));
        let tokens = match tuning.is_some_and(|t| t.blocks.is_some()) && !device.is_hardware() {
            true => tokens / 4,
            false => tokens,
        };
        let text = CalibrationText {
            tokens: self.calibrate_tokens.unwrap_or(tokens),
            length: self.calibrate_length,
            seed: self.seed,
            ..usual
        };
        Ok(Calibration {
            text,
            tuning,
            bits: self.bits,
            nested: self.nested.is_some(),
        })
    }

    /// A training with what the options say of it.
    fn changed(&self, usual: Tuning) -> Result<Tuning> {
        let of_blocks = self.tune_block_steps.or(self.tune_last_steps);
        if usual.blocks.is_none() && of_blocks.is_some() {
            return Err(Error::usage(
                "steps of blocks, or after them, where the whole model is trained",
                "say --tune blocks, or leave them out",
            ));
        }
        let blocks = usual.blocks.map(|blocks| BlockTuning {
            steps: self.tune_block_steps.unwrap_or(blocks.steps),
            batch: self.tune_batch.unwrap_or(blocks.batch),
        });
        let batch = match (self.tune_batch, blocks) {
            (Some(batch), Some(_)) => batch.saturating_mul(2),
            (Some(batch), None) => batch,
            (None, _) => usual.batch,
        };
        Ok(Tuning {
            steps: self.tune_last_steps.unwrap_or(usual.steps),
            lr: self.tune_lr.unwrap_or(usual.lr),
            distill: self.tune_distill.unwrap_or(usual.distill),
            moments: self.tune_moments.or(usual.moments),
            masters: self.tune_masters.unwrap_or(usual.masters),
            nested: self.nested.unwrap_or(usual.nested),
            batch,
            blocks,
        })
    }

    /// Whether there is a text.
    pub(super) fn is_given(&self) -> bool {
        !self.calibrate.is_empty()
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    input: String,
    output: String,
    #[serde(flatten)]
    calibration: &'a CalibrationReport,
    /// Weights in quantized layers.
    quantized_weights: usize,
    /// Bits per weight of those, scales and padding included.
    bits_per_quantized_weight: f64,
    seconds: f64,
}

impl Quantize {
    /// Calibrates, writes, and prints what came of it.
    pub(super) fn calibrate(&self, files: &ModelFiles, options: QuantizeOptions) -> Result<()> {
        let started = Instant::now();
        let device = device::open(&self.device)?;
        let calibration = self
            .calibration
            .calibration(&device, files.config(), options.recipe)?;
        let made = self.run_calibration(files, options, &calibration, &device)?;
        device::report_check(&device);
        let layers = &made.report.layers;
        let weights = |l: &CalibratedLayer| l.shape[0] * l.shape[1];
        let count: usize = layers.iter().map(weights).sum();
        let bits = layers.iter().map(|l| weights(l) as f64 * l.bits_per_weight);
        let report = Report {
            input: self.input.display().to_string(),
            output: self.output.display().to_string(),
            calibration: &made.report,
            quantized_weights: count,
            bits_per_quantized_weight: bits.sum::<f64>() / count as f64,
            seconds: started.elapsed().as_secs_f64(),
        };
        if self.json {
            return out::json(&report);
        }
        out::print(&words(&report))
    }

    fn run_calibration(
        &self,
        files: &ModelFiles,
        options: QuantizeOptions,
        calibration: &Calibration,
        device: &Device,
    ) -> Result<Calibrated> {
        let bar = out::progress(!self.json, files.config().linears().len());
        bar.set_style(out::timed());
        let mut show = |step: Step<'_>| match step {
            Step::Sampled(tokens) => bar.set_message(format!("{tokens} tokens sampled")),
            Step::Resumed(layers) => bar.set_message(format!("{layers} layers were done already")),
            Step::Continued(step) => out::note(&format!("going on after step {step}")),
            Step::NotKept(error) => out::note(&format!(
                "warning: no snapshot is kept, a run that is killed begins again: {}",
                out::one_line(&error.to_string())
            )),
            Step::Block {
                name,
                step,
                of,
                loss,
            } => {
                bar.set_length(of);
                bar.set_position(step);
                bar.set_message(format!("{name}, loss {loss:.4}"));
            }
            Step::Tuned { step, of, loss } => {
                bar.set_length(of);
                bar.set_position(step);
                bar.set_message(format!("loss {loss:.4}"));
            }
            Step::Weighed { name, done, of } => {
                bar.set_length(of as u64);
                bar.set_position(done as u64);
                bar.set_message(format!("weighing {name}"));
            }
            Step::Measuring => bar.set_message("measuring"),
            Step::Layer { name, done, of } => {
                bar.set_length(of as u64);
                bar.set_message(name.to_owned());
                bar.set_position(done as u64);
            }
        };
        let made = calibrate_folder(files, &self.output, device, options, calibration, &mut show);
        let made = folders::with_force("quantize", "folder", made)?;
        bar.finish_and_clear();
        folders::tell(made.replaced.clone());
        Ok(made)
    }
}

/// What was measured, in lines: bits, training, perplexity; nothing of what was not done.
fn measured(c: &CalibrationReport) -> [String; 3] {
    let perplexity = c.perplexity.map_or(String::new(), |[full, made]| {
        let first = c.first_stage_perplexity;
        let first = first.map_or(String::new(), |p| format!(", {p:.2} of the first stage alone"));
        format!("perplexity of held-out text: {full:.2} in full precision, {made:.2} calibrated{first}\n")
    });
    let tuning = c.tuning.as_ref().map_or(String::new(), |t| {
        let [first, last] = t.losses;
        let (steps, batch) = (t.how.steps, t.how.batch);
        let bits = t.how.moments.unwrap_or_default().bits();
        format!(
            "{steps} steps of {batch} sequences, {} at once, moments of {bits} bits, loss {first:.4}, then {last:.4}\n",
            t.micro_batch
        )
    });
    let allocation = c.allocation.as_ref().map_or(String::new(), |a| {
        format!("allocated for {} bits: --stages {}\n", a.bits, a.stages)
    });
    [allocation, tuning, perplexity]
}

/// A table of blocks that were trained by themselves.
fn blocks(blocks: &[CalibratedBlock]) -> String {
    let row = |b: &CalibratedBlock| {
        let [first, last] = b.losses.map(|loss| format!("{loss:.4}"));
        vec![b.name.clone(), first, last]
    };
    let rows: Vec<_> = blocks.iter().map(row).collect();
    match rows.is_empty() {
        true => String::new(),
        false => out::table(&["block", "loss", "after its training"], &rows) + "\n",
    }
}

fn words(report: &Report<'_>) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"));
    let row = |l: &CalibratedLayer| {
        vec![
            l.name.clone(),
            format!("{} x {}", l.shape[0], l.shape[1]),
            number(l.weight_error),
            number(l.output_error_before),
            number(l.output_error),
            format!("{:.3}", l.bits_per_weight),
        ]
    };
    let c = report.calibration;
    let rows: Vec<_> = c.layers.iter().map(row).collect();
    let header = [
        "layer",
        "shape",
        "weight error",
        "output error, nearest",
        "calibrated",
        "bits/weight",
    ];
    let blocks = blocks(&c.blocks);
    let [allocation, tuning, perplexity] = measured(c);
    format!(
        "{}\n{blocks}{}: {} on {}\n{allocation}{tuning}{} tokens of {} (seed {}), sequences of {}\n{perplexity}{} weights in {} layers, {:.3} bits each, scales and padding included; {:.2} s\n",
        out::table(&header, &rows),
        report.output,
        c.method,
        c.device,
        c.tokens,
        c.sources.join(", "),
        c.seed,
        c.length,
        out::scaled(report.quantized_weights as f64, ""),
        c.layers.len(),
        report.bits_per_quantized_weight,
        report.seconds,
    )
}
