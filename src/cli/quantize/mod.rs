//! `quantize`: a packed folder from a full-precision one, tensor by tensor.

mod calibrate;

use super::args::{DeviceArgs, MethodName, RecipeArgs};
use super::{device, folders, out, source};
use crate::backend::Backend;
use crate::builtin;
use crate::convert::{Progress, QuantizeOptions, QuantizedLayer, quantize_folder};
use crate::error::Result;
use crate::generate::ModelFiles;
use crate::model::Recipe;
use calibrate::CalibrateArgs;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Write a packed folder from a full-precision one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fairy2i-gpu quantize llama-folder packed-folder                 two stages, scales per tensor
  fairy2i-gpu quantize llama-folder packed-folder --stages 1 --granularity group:64
  fairy2i-gpu quantize llama-folder packed-folder --method bitnet_1_58 --json
  fairy2i-gpu quantize llama-folder packed-folder --granularity row --calibrate text.jsonl
                                                  error feedback: far better, and a matter of minutes
  fairy2i-gpu quantize llama-folder packed-folder --granularity row --calibrate self text.jsonl
                                                  half the text are the model's own samples

The packed folder loads without the original. Weights are read, quantized and written one tensor at a time. The
relative error of a layer is |Rq - R| / |R|; bits per weight include scales and padding. With `--calibrate`, the output
error is |E X| / |R X| over the text, E being the error of the weight: first as the papers quantize it, then calibrated.")]
pub(super) struct Quantize {
    /// Full-precision Hugging Face folder, a GGUF file of llama.cpp, or hf:OWNER/NAME
    #[arg(value_name = "IN")]
    pub(super) input: PathBuf,
    /// Folder to write
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// Replace OUT if `quantize` wrote it and nothing was changed or added since
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    calibration: CalibrateArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Serialize)]
struct Report {
    input: String,
    output: String,
    method: String,
    device: String,
    layers: Vec<Row>,
    /// Weights in quantized layers.
    quantized_weights: usize,
    /// Bits per weight of those, scales and padding included.
    bits_per_quantized_weight: f64,
    /// Everything in the folder's safetensors files.
    file_bytes: u64,
    /// Bits of those files per parameter.
    bits_per_parameter: f64,
    seconds: f64,
}

#[derive(Serialize)]
struct Row {
    layer: String,
    shape: [usize; 2],
    /// |Rq - R| / |R|; null for a layer of zeros.
    relative_error: Option<f64>,
    bits_per_weight: f64,
}

impl From<QuantizedLayer> for Row {
    fn from(layer: QuantizedLayer) -> Self {
        Self {
            layer: layer.name,
            shape: layer.shape,
            relative_error: layer.relative_error,
            bits_per_weight: layer.bits_per_weight,
        }
    }
}

impl Quantize {
    /// Quantizes, writes, and prints what came of it.
    pub(super) fn run(self) -> Result<()> {
        let started = Instant::now();
        let files = ModelFiles::from(source::open(Some(&self.input))?);
        let recipe = self.recipe.recipe(MethodName::Fairy2i, files.config())?;
        files.require_full_precision()?;
        let options = QuantizeOptions {
            recipe,
            replace: self.force,
            allow_nonfinite: self.recipe.allow_nonfinite,
        };
        folders::check("quantize", &self.input, &self.output, self.force)?;
        if self.calibration.is_given() {
            return self.calibrate(&files, options);
        }
        let device = device::open(&self.device)?;
        let bar = out::progress(!self.json, files.config().linears().len());
        let mut show = |progress: Progress<'_>| {
            bar.set_message(progress.next.to_owned());
            bar.set_position(progress.done as u64);
        };
        let made = quantize_folder(&files, &self.output, &device, options, &mut show);
        let made = folders::with_force("quantize", "folder", made)?;
        bar.finish_and_clear();
        folders::tell(made.replaced);
        device::report_check(&device);
        let layers = made.layers.into_iter().map(Row::from).collect();
        let report = self.report(&files, recipe, device.name(), layers, started)?;
        if self.json {
            return out::json(&report);
        }
        out::print(&text(&report))
    }

    fn report(
        &self,
        files: &ModelFiles,
        recipe: Recipe,
        device: String,
        layers: Vec<Row>,
        started: Instant,
    ) -> Result<Report> {
        let weights = |row: &Row| (row.shape[0] * row.shape[1]) as f64;
        let count: f64 = layers.iter().map(weights).sum();
        let bits: f64 = layers.iter().map(|r| weights(r) * r.bits_per_weight).sum();
        let written = builtin::sizes(Some(&self.output))?;
        let tensors = written.iter().filter(|f| f.0.ends_with(".safetensors"));
        let file_bytes = tensors.map(|f| f.1).sum();
        Ok(Report {
            input: self.input.display().to_string(),
            output: self.output.display().to_string(),
            method: recipe.to_string(),
            device,
            layers,
            quantized_weights: count as usize,
            bits_per_quantized_weight: bits / count,
            file_bytes,
            bits_per_parameter: 8.0 * file_bytes as f64 / files.config().parameters() as f64,
            seconds: started.elapsed().as_secs_f64(),
        })
    }
}

fn text(report: &Report) -> String {
    let row = |row: &Row| {
        vec![
            row.layer.clone(),
            format!("{} x {}", row.shape[0], row.shape[1]),
            row.relative_error
                .map_or("-".to_owned(), |e| format!("{e:.4}")),
            format!("{:.3}", row.bits_per_weight),
        ]
    };
    let rows: Vec<_> = report.layers.iter().map(row).collect();
    let header = ["layer", "shape", "relative error", "bits/weight"];
    format!(
        "{}\n{}: {} on {}\n{} weights in {} layers, {:.3} bits each, scales and padding included\n{} of files, {:.2} bits per parameter of the whole model; {:.2} s\n",
        out::table(&header, &rows),
        report.output,
        report.method,
        report.device,
        out::scaled(report.quantized_weights as f64, ""),
        report.layers.len(),
        report.bits_per_quantized_weight,
        out::bytes(report.file_bytes as f64),
        report.bits_per_parameter,
        report.seconds,
    )
}
