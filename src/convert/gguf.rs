//! A GGUF file from a folder, for llama.cpp and for the program of the authors of Fairy2i.

use super::Progress;
use super::export::{Export, ExportOptions};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::files::plan::{self, Role};
use crate::files::{Inputs, gguf};
use crate::generate::ModelFiles;
use crate::model::weights::{packed, values};
use crate::model::{Config, Dtype, Method};
use std::path::Path;

/// What a GGUF file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gguf {
    /// Dense weights of this element type, as every program reads them.
    Dense(Dtype),
    /// Codes and scales, as the authors of Fairy2i have them.
    Fairy2i,
}

/// Writes `files` into the file `out`; returns how many tensors of the model it has. `progress` is called before every
/// tensor and at the end. Of `options` the element type is not used.
///
/// # Errors
/// [`Error::Usage`] for models that such files do not hold, and for weights too large for their element type;
/// [`Error::Occupied`] when something is there that may not be replaced; failures of the device and the disk. Nothing
/// half-written is left behind.
pub fn export_gguf(
    files: &ModelFiles,
    out: impl AsRef<Path>,
    device: &Device,
    kind: Gguf,
    options: ExportOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<usize> {
    let opened = files.opened();
    let inputs = Inputs::of(opened.source.path());
    let (out, replace) = (out.as_ref(), options.replace);
    let export = Export {
        opened,
        recipe: files.resolve(options.recipe)?,
        options,
    };
    let of = match kind {
        Gguf::Dense(dtype) => dense(&export, out, &inputs, device, dtype, progress)?,
        Gguf::Fairy2i => {
            let (outline, names) = gguf::fairy2i_outline(opened)?;
            let mut writer = outline.create(out, &inputs, replace)?;
            let of = codes(&export, &mut writer, &names, progress)?;
            writer.finish()?;
            of
        }
    };
    progress(Progress {
        done: of,
        of,
        next: "",
    });
    Ok(of)
}

fn dense(
    export: &Export<'_>,
    out: &Path,
    inputs: &Inputs,
    device: &Device,
    dtype: Dtype,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<usize> {
    let recipe = export.recipe;
    // A tied head that was quantized is no longer the embedding.
    let packs_head = recipe.method != Method::Full && !recipe.skip_head;
    let config = Config {
        tied: export.opened.config.tied && !packs_head,
        ..export.opened.config.clone()
    };
    let mut file = gguf::dense(&config, &export.opened.source, dtype)?;
    let outline = file.take_outline();
    let outline =
        outline.ok_or_else(|| Error::usage("no outline", "please report this as a bug"))?;
    let mut writer = outline.create(out, inputs, export.options.replace)?;
    let quantized = export.quantized();
    let names: Vec<String> = file.names().map(str::to_owned).collect();
    let of = names.len();
    for (done, next) in names.iter().enumerate() {
        progress(Progress { done, of, next });
        let values = export.values(device, &quantized, next)?;
        file.write(&mut writer, next, values, export.options.allow_nonfinite)?;
    }
    file.write_rest(&mut writer)?;
    writer.finish()?;
    Ok(of)
}

fn codes(
    export: &Export<'_>,
    writer: &mut gguf::Writer,
    names: &[(String, String)],
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<usize> {
    let (opened, recipe) = (export.opened, export.recipe);
    let layers = recipe.layers(&opened.config);
    let of = names.len() + layers.len();
    let planned = plan::plan(&opened.config, opened.recipe.as_ref());
    for (done, (name, stored)) in names.iter().enumerate() {
        progress(Progress {
            done,
            of,
            next: name,
        });
        let shape = planned.iter().find(|planned| &planned.name == name);
        let shape = shape.filter(|planned| matches!(planned.role, Role::Dense | Role::Norm));
        let shape = shape.map_or(&[][..], |planned| &planned.shape);
        let values = values(&*opened.weights, name)?;
        writer.put(stored, &gguf::dense_bytes(name, shape, &values)?)?;
    }
    for (done, layer) in layers.iter().enumerate() {
        progress(Progress {
            done: names.len() + done,
            of,
            next: &layer.prefix,
        });
        let stored = opened.recipe.unwrap_or(recipe);
        let packed = packed(&*opened.weights, stored, layer)?;
        for (name, bytes) in gguf::bundle(&layer.prefix, &packed)? {
            writer.put(&name, &bytes)?;
        }
    }
    Ok(of)
}
