//! A packed folder from a full-precision one.

use super::Progress;
use crate::backend::{Backend, Device, block_on};
use crate::error::Result;
use crate::files::staging::{Destination, Replaced};
use crate::files::{ModelFolder, packed};
use crate::generate::ModelFiles;
use crate::model::config::LinearShape;
use crate::model::weights::values;
use crate::model::{Granularity, Method, Packed, Recipe, quantize};
use std::collections::BTreeMap;
use std::path::Path;

/// How a folder is quantized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantizeOptions {
    /// How its linear layers are represented; the default is two stages with scales per tensor, two bits a weight.
    pub recipe: Recipe,
    /// Replace a folder that the same command wrote; nothing else ever is.
    pub replace: bool,
    /// Go on when weights are NaN or infinite.
    pub allow_nonfinite: bool,
}

impl Default for QuantizeOptions {
    fn default() -> Self {
        Self {
            recipe: Recipe {
                method: Method::Phase { stages: 2 },
                granularity: Granularity::Tensor,
                skip_head: false,
                rotated: false,
            },
            replace: false,
            allow_nonfinite: false,
        }
    }
}

/// What quantizing made.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// Its layers, in the model's order.
    pub layers: Vec<QuantizedLayer>,
    /// The folder that was there before, if one was replaced.
    pub replaced: Option<Replaced>,
}

/// One quantized layer.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedLayer {
    /// Name without `.weight`.
    pub name: String,
    /// Outputs and inputs.
    pub shape: [usize; 2],
    /// `|Rq - R| / |R|`; `None` for a layer of zeros.
    pub relative_error: Option<f64>,
    /// Bits of a weight, scales and padding included.
    pub bits_per_weight: f64,
}

/// Quantizes `files` into the folder `out`; `progress` is called before every layer and at the end.
///
/// ```no_run
/// use fairy2i_gpu::convert::{QuantizeOptions, quantize_folder};
/// use fairy2i_gpu::{Device, Model};
/// let (files, device) = (Model::open("llama-folder")?, Device::auto()?);
/// let options = QuantizeOptions::default();
/// let made = quantize_folder(&files, "packed-folder", &device, options, &mut |_| {})?;
/// println!("{} layers", made.layers.len());
/// # Ok::<(), fairy2i_gpu::Error>(())
/// ```
///
/// # Errors
/// [`crate::Error::Usage`] when `files` are packed already or `out` is, lies in or holds what is read; [`crate::Error::Occupied`]
/// when something is there that may not be replaced; [`crate::Error::NonFinite`] for a weight that is no number; failures of
/// the device and the disk. Nothing half-written is left behind.
pub fn quantize_folder(
    files: &ModelFiles,
    out: impl AsRef<Path>,
    device: &Device,
    options: QuantizeOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Quantized> {
    let opened = files.opened();
    files.require_full_precision()?;
    let job = Job {
        opened,
        destination: Destination {
            replace: options.replace,
            ..Destination::new(out.as_ref(), "quantize")
        },
        card: None,
        recipe: options.recipe.in_family(&opened.config),
        layers: BTreeMap::new(),
        allow_nonfinite: options.allow_nonfinite,
    };
    job.run(device, progress)
}

/// Quantizing for whoever decides who writes the folder: a training run has its own author.
pub struct Job<'a> {
    /// The full-precision model.
    pub opened: &'a ModelFolder,
    /// Folder to write.
    pub destination: Destination<'a>,
    /// A file to write beside the model: its name and its text.
    pub card: Option<(&'a str, &'a str)>,
    /// How.
    pub recipe: Recipe,
    /// Layers that are quantized already, by their names without `.weight`.
    pub layers: BTreeMap<String, Packed>,
    /// Go on when weights are NaN or infinite.
    pub allow_nonfinite: bool,
}

impl Job<'_> {
    /// Does it.
    ///
    /// # Errors
    /// As [`quantize_folder`].
    pub fn run<B: Backend>(
        &self,
        backend: &B,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Quantized> {
        let mut original = self.opened.original();
        original.allow_nonfinite = self.allow_nonfinite;
        let shard = packed::SHARD_BYTES;
        let mut writer = packed::Writer::create(&self.destination, original, self.recipe, shard)?;
        if let Some((name, text)) = self.card {
            writer.file(name, text.as_bytes())?;
        }
        let linears = self.recipe.layers(&self.opened.config);
        let of = linears.len();
        let mut layers = Vec::with_capacity(of);
        for (done, shape) in linears.into_iter().enumerate() {
            let next = shape.prefix.as_str();
            progress(Progress { done, of, next });
            let packed = block_on(backend, self.layer(backend, &shape))?;
            writer.linear(&shape.prefix, &packed)?;
            self.opened.weights.release();
            layers.push(QuantizedLayer {
                shape: [shape.out_features, shape.columns()],
                relative_error: packed.relative_error,
                bits_per_weight: packed.bits_per_weight(),
                name: shape.prefix,
            });
        }
        progress(Progress {
            done: of,
            of,
            next: "",
        });
        let replaced = writer.finish()?;
        Ok(Quantized { layers, replaced })
    }

    async fn layer<B: Backend>(&self, backend: &B, shape: &LinearShape) -> Result<Packed> {
        if let Some(packed) = self.layers.get(&shape.prefix) {
            return Ok(packed.clone());
        }
        quantized(
            backend,
            self.opened,
            shape,
            self.recipe,
            self.allow_nonfinite,
        )
        .await
    }
}

/// The dense layer `shape` of `opened`, quantized.
pub(super) async fn quantized<B: Backend>(
    backend: &B,
    opened: &ModelFolder,
    shape: &LinearShape,
    recipe: Recipe,
    allow_nonfinite: bool,
) -> Result<Packed> {
    backend.scope(&|| shape.prefix.clone());
    let name = opened.config.dense_name(&shape.prefix);
    let values = values(&*opened.weights, &name)?;
    let values = recipe.rotate(values, shape.in_features, false);
    quantize(
        backend,
        &name,
        &values,
        shape.form,
        shape.out_features,
        shape.in_features,
        recipe.method.of(&shape.prefix),
        recipe.granularity,
        allow_nonfinite,
    )
    .await
}
