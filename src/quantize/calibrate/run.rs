//! Calibrating a whole model, block by block.

use super::factor::Factor;
use super::layer::{Layer, LayerErrors, of_layer};
use super::moments::Moments;
use super::needs::fits;
use super::options::{CalibrateOptions, check, load_options};
use super::streams::{Reads, Streams};
use crate::backend::Backend;
use crate::error::Result;
use crate::model::config::LinearShape;
use crate::model::linear::Linear;
use crate::model::load::{Loader, joined};
use crate::model::{Config, Packed, PackedView, Weights};
use std::collections::BTreeMap;

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
/// [`Error::Usage`](crate::Error::Usage) for another method than the phase quantizer, for no sequences, or ids beyond the
/// vocabulary;
/// [`Error::NonFinite`](crate::Error::NonFinite) for weights that are no numbers; those of the device and of `journal`.
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
/// As [`calibrate`], and [`Error::Usage`](crate::Error::Usage) for a layer that `first` does not have.
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
        let head = [config.head()];
        run.packed(&loader, &head, Reads::Head).await?;
    }
    Ok(())
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
        let mut made = Vec::new();
        self.streams.layer = l;
        for (stack, layers) in self.config.stacks(l).iter().enumerate() {
            let reads = Reads::stack(stack, &full, &made);
            let (packed, measured) = self.packed(loader, layers, reads).await?;
            let bias = loader.bias(layers)?;
            made.push(self.linear(layers, packed)?.with_bias(bias));
            self.streams
                .advance(stack, (&full, &made), measured)
                .await?;
        }
        Ok(())
    }

    /// A quantized stack as it runs from now on.
    fn linear(&self, layers: &[LinearShape], packed: Vec<Packed>) -> Result<Linear<&'a B>> {
        let views: Vec<_> = packed.into_iter().map(PackedView::from).collect();
        let activations = self.options.activations;
        let linear = Linear::phase(&self.backend, joined(layers), &views, activations)?;
        Ok(linear.rotated(self.options.recipe.rotated))
    }

    /// The layers of a stack, made now unless they are already, and whether its inputs were measured for that.
    async fn packed(
        &mut self,
        loader: &Loader<'_, &'a B>,
        layers: &[LinearShape],
        reads: Reads<'_, 'a, B>,
    ) -> Result<(Vec<Packed>, bool)> {
        let mut made = Vec::with_capacity(layers.len());
        for layer in layers {
            made.extend(self.journal.made(layer)?);
        }
        if made.len() == layers.len() {
            return Ok((made, false));
        }
        let moments = self.streams.moments(reads).await?;
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
