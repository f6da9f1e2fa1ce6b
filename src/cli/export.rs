//! `export`: an ordinary Hugging Face checkpoint or a GGUF file from a packed one, for every other program.

use super::args::{DeviceArgs, RecipeArgs};
use super::{device, folders, out, source};
use crate::backend::Device;
use crate::builtin;
use crate::convert::{ExportOptions, Gguf, Progress, export_folder, export_gguf};
use crate::error::Result;
use crate::generate::ModelFiles;
use crate::model::Dtype;
use clap::ValueEnum;
use serde::Serialize;
use std::path::PathBuf;

/// Write a plain Hugging Face checkpoint, or a GGUF file, whose weights are the quantized ones.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fairy2i-gpu export packed-folder plain-folder
  fairy2i-gpu export llama-folder plain-folder --stages 2 --dtype f32    quantized on the way
  fairy2i-gpu export packed-folder model.gguf --gguf f16                 for llama.cpp
  fairy2i-gpu export packed-folder model.gguf --gguf fairy2i             codes as they are, for the authors' program

A quantized weight is a sum of a few f32 scales: f32 keeps it exactly, f16 within 0.05 %, bf16 within 0.4 %. That is
why f16 is the default, whatever the original's type.")]
pub(super) struct Export {
    /// Packed folder, or a full-precision one (or a GGUF file) with --stages or --method
    #[arg(value_name = "IN")]
    pub(super) input: PathBuf,
    /// Folder to write, or with --gguf the file
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// Element type of all tensors
    #[arg(long, value_enum, default_value = "f16", conflicts_with = "gguf")]
    dtype: DtypeName,
    /// Write a GGUF file with matrices of this type; `fairy2i`: with codes and scales of two stages, for the program of the
    /// method's authors
    #[arg(long, value_enum, value_name = "TYPE")]
    gguf: Option<GgufName>,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GgufName {
    F32,
    F16,
    Bf16,
    Fairy2i,
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
    pub(super) fn run(self) -> Result<()> {
        let opened = source::open(Some(&self.input))?;
        let recipe = source::recipe(&opened, &self.recipe)?;
        let files = ModelFiles::from(opened);
        let options = ExportOptions {
            recipe: Some(recipe),
            dtype: match self.dtype {
                DtypeName::F32 => Dtype::F32,
                DtypeName::F16 => Dtype::F16,
                DtypeName::Bf16 => Dtype::BF16,
            },
            replace: self.force,
            allow_nonfinite: self.recipe.allow_nonfinite,
        };
        match self.gguf {
            None => folders::check("export", &self.input, &self.output, self.force)?,
            Some(_) => folders::check_gguf("export", &self.input, &self.output, self.force)?,
        }
        let device = device::open(&self.device)?;
        let (tensors, dtype) = self.write(&files, &device, options)?;
        device::report_check(&device);
        let files = builtin::sizes(Some(&self.output))?;
        let files = files.iter().filter(|f| !f.0.ends_with(".json"));
        let report = Report {
            input: self.input.display().to_string(),
            output: self.output.display().to_string(),
            method: recipe.to_string(),
            dtype,
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

impl Export {
    /// Writes the folder or the file; returns how many tensors it has, and of what type.
    fn write(
        &self,
        files: &ModelFiles,
        device: &Device,
        options: ExportOptions,
    ) -> Result<(usize, &'static str)> {
        let bar = out::progress(!self.json, 1);
        let mut show = |progress: Progress<'_>| {
            bar.set_length(progress.of as u64);
            bar.set_message(progress.next.to_owned());
            bar.set_position(progress.done as u64);
        };
        let out = &self.output;
        let made = match self.gguf {
            Some(name) => {
                let made = export_gguf(files, out, device, name.kind(), options, &mut show);
                (folders::with_force("export", "file", made)?, name.name())
            }
            None => {
                let made = export_folder(files, out, device, options, &mut show);
                let (tensors, replaced) = folders::with_force("export", "folder", made)?;
                folders::tell(replaced);
                (tensors, source::dtype_name(options.dtype))
            }
        };
        bar.finish_and_clear();
        Ok(made)
    }
}

impl GgufName {
    fn kind(self) -> Gguf {
        match self {
            Self::F32 => Gguf::Dense(Dtype::F32),
            Self::F16 => Gguf::Dense(Dtype::F16),
            Self::Bf16 => Gguf::Dense(Dtype::BF16),
            Self::Fairy2i => Gguf::Fairy2i,
        }
    }

    fn name(self) -> &'static str {
        match self.kind() {
            Gguf::Dense(dtype) => source::dtype_name(dtype),
            Gguf::Fairy2i => "fairy2i",
        }
    }
}
