//! Calibrated quantization: codes and scales that make a model's outputs, not its weights, come out right.
//!
//! The method is error feedback (GPTQ, OPTQ) on the widely-linear form. Layer by layer, in the order in which they run:
//! - the inputs of the layer are taken from the model whose layers so far are quantized, and from the full-precision one;
//! - the weight is corrected for the drift between both, and quantized so that each column makes up for the errors of the
//!   columns before it, U and W and all stages together, in the metric of the inputs' second moments;
//! - scales are solved from the normal equations under the same metric; both are done twice.
//!
//! The text goes through the blocks once, all of it through one block before the next: device memory holds one block, the
//! residual streams, and the matrices of one layer. Everything is summed in a fixed order, so that the same text on the
//! same device gives the same bits.

mod allocate;
mod factor;
mod layer;
mod moments;
mod ops;
mod scales;
mod sensitivity;
mod streams;
mod weight;

pub use allocate::{allocate, bits_per_weight, fewest};
pub use layer::LayerErrors;
pub use sensitivity::{Judged, Sensitivity, sensitivities};
pub use weight::{Seen, calibrate_weight};

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::config::LinearShape;
use crate::model::forward::LoadOptions;
use crate::model::linear::Linear;
use crate::model::load::Loader;
use crate::model::memory::{self, product};
use crate::model::tap::Stack;
use crate::model::{Config, Method, Packed, PackedView, Recipe, Weights, quantize};
use crate::ops::quantize::Activations;
use factor::Factor;
use layer::{Layer, of_layer};
use moments::Moments;
use std::collections::BTreeMap;
use streams::{Both, Quantized, Streams};

/// How a model is calibrated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrateOptions {
    /// Representation of the layers: a phase method.
    pub recipe: Recipe,
    /// How activations enter the quantized layers while the text runs.
    pub activations: Activations,
    /// Added to the diagonal of the inputs' second moments, in means of that diagonal.
    pub damping: f64,
    /// Tokens that go through a layer at once.
    pub batch: usize,
}

impl CalibrateOptions {
    /// The study's choices for a recipe.
    pub fn new(recipe: Recipe) -> Self {
        Self {
            recipe,
            activations: Activations::Int16,
            damping: 0.01,
            batch: 4096,
        }
    }

    /// Residual stages of the layer `prefix`.
    ///
    /// # Errors
    /// [`Error::Usage`] for another method.
    pub fn stages(&self, prefix: &str) -> Result<usize> {
        match self.recipe.method.of(prefix) {
            Method::Phase { stages } => Ok(stages),
            _ => Err(Error::usage(
                format!("calibration of {}", self.recipe),
                "only the method fairy2i is calibrated",
            )),
        }
    }
}

/// Who takes what calibration makes.
pub trait Journal {
    /// A layer that an earlier run has made already, with the same text and options.
    ///
    /// # Errors
    /// Those of reading it.
    fn made(&mut self, layer: &LinearShape) -> Result<Option<Packed>>;

    /// The next layer begins.
    fn begins(&mut self, layer: &LinearShape);

    /// A layer is made.
    ///
    /// # Errors
    /// Those of writing it.
    fn take(&mut self, layer: &LinearShape, packed: &Packed, errors: LayerErrors) -> Result<()>;
}

/// Calibrates all linear layers of the dense model `weights`, in forward order, on `sequences` of token ids.
///
/// # Errors
/// [`Error::Usage`] for another method than the phase quantizer, for no sequences, or ids beyond the vocabulary;
/// [`Error::NonFinite`] for weights that are no numbers; those of the device and of `journal`.
pub async fn calibrate<B: Backend>(
    backend: &B,
    config: &Config,
    weights: &dyn Weights,
    sequences: &[Vec<u32>],
    options: CalibrateOptions,
    journal: &mut dyn Journal,
) -> Result<()> {
    calibrate_behind(
        backend,
        (config, weights),
        sequences,
        options,
        None,
        journal,
    )
    .await
}

/// [`calibrate`] with the first stages of all layers in `first`, by the layers' names, which stay as they are: the others
/// are calibrated on what those leave, with inputs from the model of all stages.
///
/// # Errors
/// As [`calibrate`], and [`Error::Usage`] for a layer that `first` does not have.
pub async fn calibrate_behind<B: Backend>(
    backend: &B,
    (config, weights): (&Config, &dyn Weights),
    sequences: &[Vec<u32>],
    options: CalibrateOptions,
    first: Option<&BTreeMap<String, Packed>>,
    journal: &mut dyn Journal,
) -> Result<()> {
    check(config, sequences, &options)?;
    let load = load_options(sequences, &options);
    fits(
        backend,
        config,
        sequences,
        (load.batch, options.recipe.rotated),
    )?;
    let mut quiet = |_: &str| {};
    let mut loader = Loader {
        backend: &backend,
        config,
        weights,
        options: load,
        progress: &mut quiet,
    };
    let mut run = Calibration {
        backend,
        config,
        streams: Streams::new(&loader, sequences, load, options.recipe.rotated).await?,
        options,
        first,
        journal,
    };
    for l in 0..config.layers {
        run.block(&mut loader, l).await?;
    }
    if !options.recipe.skip_head {
        let linears = config.linears();
        let head = (Stack::Head, &linears[7 * config.layers..]);
        run.packed(&loader, head, None).await?;
    }
    Ok(())
}

/// How dense layers are loaded for `sequences`.
fn load_options(sequences: &[Vec<u32>], options: &CalibrateOptions) -> LoadOptions {
    let longest = sequences.iter().map(Vec::len).max().unwrap_or(1);
    LoadOptions {
        recipe: Recipe::FULL,
        activations: options.activations,
        context: longest,
        batch: options.batch.max(longest),
        kv: None,
        exact: false,
    }
}

/// Refuses what the device has no room for.
fn fits<B: Backend>(
    backend: &B,
    config: &Config,
    sequences: &[Vec<u32>],
    (batch, rotated): (usize, bool),
) -> Result<()> {
    let tokens = sequences.iter().map(Vec::len).sum();
    let needs = needs(config, tokens, (batch, rotated));
    let hint = "calibrate with fewer tokens, or on another device";
    memory::check(backend, "calibration", &needs, hint)
}

/// The stacks of block `l` in the order in which they run, with their layers of all in `linears`.
fn stacks_of(linears: &[LinearShape], l: usize) -> [(Stack, &[LinearShape]); 4] {
    let layers = &linears[7 * l..7 * l + 7];
    [
        (Stack::Qkv, &layers[..3]),
        (Stack::O, &layers[3..4]),
        (Stack::GateUp, &layers[4..6]),
        (Stack::Down, &layers[6..]),
    ]
}

/// Bytes of device memory by what they are for: what is there all the time, and the most that a stack and one of its
/// layers take.
fn needs(c: &Config, tokens: usize, (batch, rotated): (usize, bool)) -> [(&'static str, usize); 5] {
    let widest = c.hidden.max(c.intermediate).max(c.heads * c.head_dim);
    let linears = c.linears();
    let largest = linears.iter().map(|l| l.out_features * l.in_features);
    let largest = largest.max().unwrap_or(0);
    let block: usize = linears
        .iter()
        .take(7)
        .map(|l| l.out_features * l.in_features)
        .sum();
    // the inputs of both models again
    let turned = if rotated { 2 } else { 0 };
    let floats = |factors: &[usize]| product(&[4, product(factors)]);
    [
        ("residual streams", floats(&[2, tokens, c.hidden])),
        // inputs of both models, their difference, factors in f16, and what the passes leave between their operations
        ("inputs", floats(&[11 + turned, batch, widest])),
        (
            "a block and the embedding",
            floats(&[1, block + c.vocab * c.hidden]),
        ),
        // moments and drift, H and its factor
        ("second moments", floats(&[4, widest, widest])),
        // the weight three times, its target, errors, scratch twice
        ("a layer", floats(&[8, largest])),
    ]
}

/// Refuses what cannot be calibrated, before anything is loaded.
fn check(config: &Config, sequences: &[Vec<u32>], options: &CalibrateOptions) -> Result<()> {
    if sequences.is_empty() || sequences.iter().any(Vec::is_empty) {
        return Err(Error::usage(
            "the calibration text has no tokens",
            "give a longer text",
        ));
    }
    let most = sequences.iter().flatten().max();
    if let Some(id) = most.filter(|&&id| id as usize >= config.vocab) {
        return Err(Error::usage(
            format!("token id {id} is beyond the vocabulary of {}", config.vocab),
            "use the tokenizer that belongs to the model",
        ));
    }
    options.stages(Config::HEAD)?;
    quantize::check_all(config, &options.recipe)
}

/// A run over all blocks.
struct Calibration<'a, 'j, B: Backend> {
    backend: &'a B,
    config: &'a Config,
    streams: Streams<'a, B>,
    options: CalibrateOptions,
    /// First stages that are made already.
    first: Option<&'j BTreeMap<String, Packed>>,
    journal: &'j mut dyn Journal,
}

impl<'a, B: Backend> Calibration<'a, '_, B> {
    /// All stacks of a block, and the text through it.
    async fn block(&mut self, loader: &mut Loader<'_, &'a B>, l: usize) -> Result<()> {
        let full = loader.block(l).await?;
        let mut made = Quantized::default();
        let linears = self.config.linears();
        for (stack, layers) in stacks_of(&linears, l) {
            let of = (&full, &made);
            let (linear, measured) = self.stack(loader, (stack, layers), of).await?;
            let place = match stack {
                Stack::Qkv => &mut made.qkv,
                Stack::O => &mut made.o,
                Stack::GateUp => &mut made.gate_up,
                Stack::Down | Stack::Head => &mut made.down,
            };
            *place = Some(linear);
            if matches!(stack, Stack::O | Stack::Down) {
                let both = (&full, &made);
                self.streams.advance(stack, both, measured).await?;
            }
        }
        Ok(())
    }

    /// A stack as it runs from now on, and whether its inputs were measured.
    async fn stack(
        &mut self,
        loader: &Loader<'_, &'a B>,
        (stack, layers): (Stack, &[LinearShape]),
        block: Both<'_, 'a, B>,
    ) -> Result<(Linear<&'a B>, bool)> {
        let made = self.packed(loader, (stack, layers), Some(block)).await?;
        let views: Vec<_> = made.0.into_iter().map(PackedView::from).collect();
        let names: Vec<_> = layers.iter().map(|l| l.prefix.as_str()).collect();
        let activations = self.options.activations;
        let linear = Linear::phase(&self.backend, names.join(" + "), &views, activations)?;
        Ok((linear.rotated(self.options.recipe.rotated), made.1))
    }

    /// The layers of a stack, made now unless they are already, and whether its inputs were measured for that.
    async fn packed(
        &mut self,
        loader: &Loader<'_, &'a B>,
        (stack, layers): (Stack, &[LinearShape]),
        block: Option<Both<'_, 'a, B>>,
    ) -> Result<(Vec<Packed>, bool)> {
        let mut made = Vec::with_capacity(layers.len());
        for layer in layers {
            made.extend(self.journal.made(layer)?);
        }
        if made.len() == layers.len() {
            return Ok((made, false));
        }
        let moments = self.streams.moments(stack, block).await?;
        Ok((self.quantize(loader, layers, &moments).await?, true))
    }

    /// Codes and scales of layers that read the same inputs.
    async fn quantize(
        &mut self,
        loader: &Loader<'_, &'a B>,
        layers: &[LinearShape],
        moments: &Moments<B>,
    ) -> Result<Vec<Packed>> {
        let backend = self.backend;
        let rows = layers.iter().map(|l| l.out_features.next_multiple_of(2));
        let most = rows.max().unwrap_or(0);
        let factor = Factor::new(backend, moments, self.options.damping, most).await?;
        let mut all = Vec::with_capacity(layers.len());
        for shape in layers {
            backend.scope(&|| format!("{}, calibrating", shape.prefix));
            self.journal.begins(shape);
            let tensor = loader.dense(&self.config.dense_name(&shape.prefix))?;
            let values = tensor.to_f32(0..tensor.elements());
            let values = self.options.recipe.rotate(values, shape.in_features, false);
            let stages = self.options.stages(&shape.prefix)?;
            let first = self.first.map(|all| of_layer(all, shape)).transpose()?;
            let known = first.map_or(0, Packed::stages);
            let left = if known < stages {
                stages - known
            } else {
                stages
            };
            let recipe = (left, self.options.recipe.granularity);
            let weight = (&values[..], shape.out_features);
            let layer = Layer::new(backend, &factor, moments, weight, recipe).await?;
            let (packed, errors) = match first {
                None => layer.quantize().await?,
                Some(first) if known < stages => layer.quantize_behind(first).await?,
                Some(all) => (all.clone(), layer.measure(all).await?),
            };
            self.journal.take(shape, &packed, errors)?;
            all.push(packed);
        }
        Ok(all)
    }
}
