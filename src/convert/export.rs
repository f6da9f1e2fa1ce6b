//! An ordinary Hugging Face checkpoint from a packed one, for every other program.

use super::Progress;
use super::pack::quantized;
use crate::backend::{Backend, Device, block_on};
use crate::error::Result;
use crate::files::staging::{Destination, Replaced};
use crate::files::{ModelFolder, export};
use crate::generate::ModelFiles;
use crate::model::config::LinearShape;
use crate::model::weights::values;
use crate::model::{Dtype, Recipe, dequantize, weights};
use std::collections::BTreeMap;
use std::path::Path;

/// How a folder is exported.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExportOptions {
    /// Quantize a full-precision model on the way; `None` takes its weights as they are stored.
    pub recipe: Option<Recipe>,
    /// Element type of all tensors. A quantized weight is a sum of a few f32 scales: f32 keeps it exactly, f16 (the
    /// default) within 0.05 %, bf16 within 0.4 %.
    pub dtype: Dtype,
    /// Replace a folder that the same command wrote; nothing else ever is.
    pub replace: bool,
    /// Go on when weights are NaN or infinite.
    pub allow_nonfinite: bool,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self {
            recipe: None,
            dtype: Dtype::F16,
            replace: false,
            allow_nonfinite: false,
        }
    }
}

/// Writes `files` into the folder `out` as an ordinary checkpoint; returns how many tensors it has, and the folder that
/// was replaced, if one was. `progress` is called before every tensor and at the end.
///
/// # Errors
/// As [`super::quantize_folder`]; a packed model cannot be given another recipe.
pub fn export_folder(
    files: &ModelFiles,
    out: impl AsRef<Path>,
    device: &Device,
    options: ExportOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(usize, Option<Replaced>)> {
    let opened = files.opened();
    let export = Export {
        opened,
        recipe: files.resolve(options.recipe)?,
        options,
    };
    let destination = Destination {
        replace: options.replace,
        ..Destination::new(out.as_ref(), "export")
    };
    export.run(device, &destination, progress)
}

/// A model whose dense weights are asked for.
pub(super) struct Export<'a> {
    pub(super) opened: &'a ModelFolder,
    pub(super) recipe: Recipe,
    pub(super) options: ExportOptions,
}

impl Export<'_> {
    fn run(
        &self,
        device: &Device,
        destination: &Destination<'_>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(usize, Option<Replaced>)> {
        let mut original = self.opened.original();
        original.allow_nonfinite = self.options.allow_nonfinite;
        let (recipe, dtype) = (Some(&self.recipe), self.options.dtype);
        let shard = export::SHARD_BYTES;
        let mut writer = export::Writer::create(destination, original, recipe, dtype, shard)?;
        let quantized = self.quantized();
        let names: Vec<String> = writer.planned().iter().map(|p| p.name.clone()).collect();
        let of = names.len();
        for (done, next) in names.iter().enumerate() {
            progress(Progress { done, of, next });
            let values = self.values(device, &quantized, next)?;
            writer.tensor(next, &values)?;
            self.opened.weights.release();
        }
        progress(Progress {
            done: of,
            of,
            next: "",
        });
        Ok((of, writer.finish()?))
    }

    /// The values of the tensor `name`.
    pub(super) fn values(
        &self,
        device: &Device,
        quantized: &BTreeMap<String, LinearShape>,
        name: &str,
    ) -> Result<Vec<f32>> {
        match quantized.get(name) {
            Some(shape) => block_on(device, self.layer(device, shape)),
            None => values(&*self.opened.weights, name),
        }
    }

    /// Quantized layers by the names of their tensors.
    pub(super) fn quantized(&self) -> BTreeMap<String, LinearShape> {
        let layers = self.recipe.layers(&self.opened.config).into_iter();
        layers
            .map(|l| (format!("{}.weight", l.prefix), l))
            .collect()
    }

    /// The dense weight that a quantized layer stands for.
    async fn layer<B: Backend>(&self, backend: &B, shape: &LinearShape) -> Result<Vec<f32>> {
        let packed = match self.opened.recipe {
            Some(stored) => weights::packed(&*self.opened.weights, stored, shape)?,
            None => {
                let allow = self.options.allow_nonfinite;
                quantized(backend, self.opened, shape, self.recipe, allow).await?
            }
        };
        backend.scope(&|| shape.prefix.clone());
        let values = dequantize(backend, &packed).await?;
        let recipe = self.opened.recipe.unwrap_or(self.recipe);
        Ok(recipe.rotate(values, shape.in_features, true))
    }
}
