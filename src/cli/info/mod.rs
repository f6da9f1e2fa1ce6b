//! `info`: devices, a model, or a kernel.

use super::args::{DeviceArgs, RecipeArgs};
use super::device;
use crate::error::Result;
use std::path::PathBuf;

mod check;
mod devices;
mod model;
mod shader;

/// Show the devices of this machine, what a model is, or what a device gets for a kernel.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fairy2i-gpu info                     devices, their limits and the kernels chosen for them
  fairy2i-gpu info --check --device 0  run every kernel's test cases on a device
  fairy2i-gpu info llama-folder        configuration, parameters, bits per weight, sizes
  fairy2i-gpu info llama-folder --stages 2
                                       what it would be in two bits
  fairy2i-gpu info builtin             the built-in model
  fairy2i-gpu info --shader            the names of all kernels
  fairy2i-gpu info --shader rms_norm --to hlsl
                                       what Direct3D 12 gets for a kernel")]
pub(super) struct Info {
    /// A model folder, a GGUF file, hf:OWNER/NAME, or `builtin`
    pub(super) model: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    shader: shader::ShaderArgs,
}

impl Info {
    /// Prints it.
    pub(super) fn run(self) -> Result<()> {
        if let Some(name) = &self.shader.shader {
            return shader::run(name, &self.shader, self.json);
        }
        if self.device.check {
            return device::run_on(&self.device, check::SelfTest);
        }
        match &self.model {
            Some(model) => model::run(model, &self.recipe, &self.device, self.json),
            None => devices::run(&self.device, self.json),
        }
    }
}
