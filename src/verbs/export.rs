//! `export`: an ordinary Hugging Face checkpoint from a packed one, for every other program.

use super::args::{DeviceArgs, RecipeArgs};
use super::device::{self, Task};
use super::{folders, out, source};
use crate::backend::{Backend, block_on};
use crate::error::Result;
use crate::files::staging::Destination;
use crate::files::{Inputs, Opened, export};
use crate::model::config::LinearShape;
use crate::model::{Config, Dtype, Method, Recipe, dequantize, quantize, weights};
use clap::ValueEnum;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Write a plain Hugging Face checkpoint whose weights are the quantized ones.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fairy2i-gpu export packed-folder plain-folder
  fairy2i-gpu export llama-folder plain-folder --stages 2 --dtype f32    quantized on the way

A quantized weight is a sum of a few f32 scales: f32 keeps it exactly, f16 within 0.05 %, bf16 within 0.4 %. That is
why f16 is the default, whatever the original's type.")]
pub struct Export {
    /// Packed folder, or a full-precision one with --stages or --method
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// Folder to write
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// Element type of all tensors
    #[arg(long, value_enum, default_value = "f16")]
    dtype: DtypeName,
    /// Replace OUT if `export` wrote it and nothing was changed or added since
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DtypeName {
    F32,
    F16,
    Bf16,
}

#[derive(Serialize)]
struct Report {
    input: String,
    output: String,
    method: String,
    dtype: &'static str,
    tensors: usize,
    file_bytes: u64,
}

impl Export {
    /// Writes the folder.
    pub fn run(self) -> Result<()> {
        let opened = source::open(Some(&self.input))?;
        let recipe = source::recipe(&opened, &self.recipe)?;
        let dtype = match self.dtype {
            DtypeName::F32 => Dtype::F32,
            DtypeName::F16 => Dtype::F16,
            DtypeName::Bf16 => Dtype::BF16,
        };
        let inputs = Inputs::new().with(&self.input);
        let destination = Destination {
            replace: self.force,
            inputs: &inputs,
            ..Destination::new(&self.output, "export")
        };
        folders::with_force("export", destination.check())?;
        let work = Work {
            opened: &opened,
            destination,
            recipe,
            dtype,
            allow_nonfinite: self.recipe.allow_nonfinite,
            json: self.json,
        };
        let tensors = folders::with_force("export", device::run_on(&self.device, work))?;
        let files = source::sizes(Some(&self.output))?;
        let files = files.iter().filter(|f| f.0.ends_with(".safetensors"));
        let report = Report {
            input: self.input.display().to_string(),
            output: self.output.display().to_string(),
            method: source::describe(&recipe),
            dtype: source::dtype_name(dtype),
            tensors,
            file_bytes: files.map(|f| f.1).sum(),
        };
        if self.json {
            return out::json(&report);
        }
        out::print(&format!(
            "{}: {} tensors of {} as {}, {}\n",
            report.output,
            report.tensors,
            report.method,
            report.dtype,
            out::bytes(report.file_bytes as f64)
        ))
    }
}

struct Work<'a> {
    opened: &'a Opened,
    destination: Destination<'a>,
    recipe: Recipe,
    dtype: Dtype,
    allow_nonfinite: bool,
    json: bool,
}

impl Task for Work<'_> {
    type Output = usize;

    fn run<B: Backend>(self, backend: &B) -> Result<usize> {
        let mut original = self.opened.original();
        original.allow_nonfinite = self.allow_nonfinite;
        let mut writer = export::Writer::create(
            &self.destination,
            original,
            Some(&self.recipe),
            self.dtype,
            export::SHARD_BYTES,
        )?;
        let config = &self.opened.config;
        let quantized: BTreeMap<String, LinearShape> = config
            .linears()
            .into_iter()
            .filter(|l| self.recipe.method != Method::Full && !self.skips(&l.prefix))
            .map(|l| (format!("{}.weight", l.prefix), l))
            .collect();
        let names: Vec<String> = writer.planned().iter().map(|p| p.name.clone()).collect();
        let bar = out::progress(!self.json, names.len());
        for name in &names {
            bar.set_message(name.clone());
            let values = match quantized.get(name) {
                Some(shape) => block_on(backend, self.layer(backend, shape))?,
                None => source::values(&*self.opened.weights, name)?,
            };
            writer.tensor(name, &values)?;
            bar.inc(1);
        }
        let replaced = writer.finish()?;
        bar.finish_and_clear();
        folders::tell(replaced);
        Ok(names.len())
    }
}

impl Work<'_> {
    fn skips(&self, prefix: &str) -> bool {
        self.recipe.skip_head && prefix == Config::HEAD
    }

    /// The dense weight that a quantized layer stands for.
    async fn layer<B: Backend>(&self, backend: &B, shape: &LinearShape) -> Result<Vec<f32>> {
        backend.at(&|| shape.prefix.clone());
        let weights = &*self.opened.weights;
        if let Some(stored) = self.opened.recipe {
            let packed = weights::packed(weights, stored, shape)?;
            return dequantize(backend, &packed).await;
        }
        let name = self.opened.config.dense_name(&shape.prefix);
        let values = source::values(weights, &name)?;
        let Recipe {
            method,
            granularity,
            ..
        } = self.recipe;
        let (rows, columns) = (shape.out_features, shape.in_features);
        let allow = self.allow_nonfinite;
        let packed = quantize(
            backend,
            &name,
            &values,
            rows,
            columns,
            method,
            granularity,
            allow,
        )
        .await?;
        drop(values);
        dequantize(backend, &packed).await
    }
}
