//! `quantize`: a packed folder from a full-precision one, tensor by tensor.

use super::args::{DeviceArgs, MethodName, RecipeArgs};
use super::device::{self, Task};
use super::{folders, out, source};
use crate::backend::{Backend, block_on};
use crate::error::{Error, Result};
use crate::files::staging::Destination;
use crate::files::{Inputs, Opened, packed};
use crate::model::config::LinearShape;
use crate::model::{Config, Packed, Recipe, quantize};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Write a packed folder from a full-precision one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fairy2i-gpu quantize llama-folder packed-folder                 two stages, scales per tensor
  fairy2i-gpu quantize llama-folder packed-folder --stages 1 --granularity group:64
  fairy2i-gpu quantize llama-folder packed-folder --method bitnet_1_58 --json

The packed folder loads without the original. Weights are read, quantized and written one tensor at a time. The
relative error of a layer is |Rq - R| / |R|; bits per weight include scales and padding.")]
pub struct Quantize {
    /// Full-precision Hugging Face folder
    #[arg(value_name = "IN")]
    input: PathBuf,
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
pub(super) struct Row {
    layer: String,
    shape: [usize; 2],
    /// |Rq - R| / |R|; null for a layer of zeros.
    relative_error: Option<f64>,
    bits_per_weight: f64,
}

impl Quantize {
    /// Quantizes, writes, and prints what came of it.
    pub fn run(self) -> Result<()> {
        let started = Instant::now();
        let recipe = self.recipe.recipe(MethodName::Fairy2i)?;
        let opened = source::open(Some(&self.input))?;
        if let Some(packed) = &opened.recipe {
            return Err(Error::usage(
                format!(
                    "{} is packed already ({})",
                    opened.source.name(),
                    source::describe(packed)
                ),
                "start from the full-precision folder",
            ));
        }
        let inputs = Inputs::new().with(&self.input);
        let destination = Destination {
            replace: self.force,
            inputs: &inputs,
            ..Destination::new(&self.output, "quantize")
        };
        folders::with_force("quantize", destination.check())?;
        let work = Work {
            opened: &opened,
            destination,
            card: None,
            recipe,
            allow_nonfinite: self.recipe.allow_nonfinite,
            json: self.json,
        };
        let (device, layers) = folders::with_force("quantize", device::run_on(&self.device, work))?;
        let report = self.report(&opened, recipe, device, layers, started)?;
        if self.json {
            return out::json(&report);
        }
        out::print(&text(&report))
    }

    fn report(
        &self,
        opened: &Opened,
        recipe: Recipe,
        device: String,
        layers: Vec<Row>,
        started: Instant,
    ) -> Result<Report> {
        let weights = |row: &Row| (row.shape[0] * row.shape[1]) as f64;
        let count: f64 = layers.iter().map(weights).sum();
        let bits: f64 = layers.iter().map(|r| weights(r) * r.bits_per_weight).sum();
        let files = source::sizes(Some(&self.output))?;
        let tensors = files.iter().filter(|f| f.0.ends_with(".safetensors"));
        let file_bytes = tensors.map(|f| f.1).sum();
        Ok(Report {
            input: self.input.display().to_string(),
            output: self.output.display().to_string(),
            method: source::describe(&recipe),
            device,
            layers,
            quantized_weights: count as usize,
            bits_per_quantized_weight: bits / count,
            file_bytes,
            bits_per_parameter: 8.0 * file_bytes as f64 / opened.config.parameters() as f64,
            seconds: started.elapsed().as_secs_f64(),
        })
    }
}

/// What runs on the device.
pub(super) struct Work<'a> {
    /// The full-precision model.
    pub opened: &'a Opened,
    /// Folder to write.
    pub destination: Destination<'a>,
    /// A file to write beside the model: its name and its text.
    pub card: Option<(&'a str, &'a str)>,
    /// How.
    pub recipe: Recipe,
    /// Go on when weights are NaN or infinite.
    pub allow_nonfinite: bool,
    /// Show no progress.
    pub json: bool,
}

impl Task for Work<'_> {
    type Output = (String, Vec<Row>);

    fn run<B: Backend>(self, backend: &B) -> Result<Self::Output> {
        let mut original = self.opened.original();
        original.allow_nonfinite = self.allow_nonfinite;
        let shard = packed::SHARD_BYTES;
        let mut writer = packed::Writer::create(&self.destination, original, self.recipe, shard)?;
        if let Some((name, text)) = self.card {
            writer.file(name, text.as_bytes())?;
        }
        let mut linears = self.opened.config.linears();
        linears.retain(|l| !(self.recipe.skip_head && l.prefix == Config::HEAD));
        let bar = out::progress(!self.json, linears.len());
        let mut rows = Vec::new();
        for shape in linears {
            bar.set_message(shape.prefix.clone());
            let packed = block_on(backend, self.layer(backend, &shape))?;
            writer.linear(&shape.prefix, &packed)?;
            rows.push(Row {
                shape: [shape.out_features, shape.in_features],
                relative_error: packed.relative_error,
                bits_per_weight: packed.bits_per_weight(),
                layer: shape.prefix,
            });
            bar.inc(1);
        }
        let replaced = writer.finish()?;
        bar.finish_and_clear();
        folders::tell(replaced);
        Ok((backend.name(), rows))
    }
}

impl Work<'_> {
    async fn layer<B: Backend>(&self, backend: &B, shape: &LinearShape) -> Result<Packed> {
        backend.at(&|| shape.prefix.clone());
        let name = self.opened.config.dense_name(&shape.prefix);
        let values = source::values(&*self.opened.weights, &name)?;
        let (rows, columns) = (shape.out_features, shape.in_features);
        let Recipe {
            method,
            granularity,
            ..
        } = self.recipe;
        let allow = self.allow_nonfinite;
        quantize(
            backend,
            &name,
            &values,
            rows,
            columns,
            method,
            granularity,
            allow,
        )
        .await
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
