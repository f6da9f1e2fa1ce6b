//! What it would do to the model to quantize each stack of layers alone: what stages are allocated by.

use super::factor::Factor;
use super::layer::Layer;
use super::moments::Moments;
use super::needs::fits;
use super::options::{CalibrateOptions, check, load_options};
use super::streams::{Reads, Streams};
use crate::backend::Backend;
use crate::error::Result;
use crate::model::blueprint::StackIndex;
use crate::model::config::LinearShape;
use crate::model::linear::Linear;
use crate::model::load::Loader;
use crate::model::loaded::Model;
use crate::model::options::LoadOptions;
use crate::model::session::{IGNORED, Scorer, Segment};
use crate::model::{Config, Packed, PackedView, Weights};

/// Layers that run as one product, and how much the model suffers when they alone are quantized.
#[derive(Debug, Clone, PartialEq)]
pub struct Sensitivity {
    /// The layers.
    pub layers: Vec<LinearShape>,
    /// Mean Kullback-Leibler divergence of the model's predictions from those in full precision, in nats a token, when
    /// these layers have the fewest stages and everything else is in full precision.
    pub divergence: f64,
    /// Squared error of the outputs with the fewest stages and with one more, both in the same unit.
    pub errors: [f64; 2],
}

/// What the stacks are judged by.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// Sequences whose second moments codes are chosen by.
    pub text: &'a [Vec<u32>],
    /// Sequences on which predictions are compared.
    pub compared: &'a [Vec<u32>],
    /// The fewest stages: fewer than 4.
    pub stages: usize,
}

/// Quantizes every stack of the dense model `weights` by itself, with the fewest stages and with one more, and compares
/// the model's predictions. All layers see inputs in full precision: what others do to them is not counted. `progress`
/// hears the name of a stack's first layer and how many of all steps are done.
///
/// The second half needs device memory for the full-precision model twice.
///
/// # Errors
/// As [`calibrate`](crate::quantize::calibrate::calibrate), and those of [`Model::load`].
pub async fn sensitivities<B: Backend>(
    backend: &B,
    config: &Config,
    weights: &dyn Weights,
    judged: Judged<'_>,
    options: CalibrateOptions,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Vec<Sensitivity>> {
    let in_blocks = config.blueprint().stacks.len() * config.layers;
    let count = in_blocks + usize::from(!options.recipe.skip_head);
    let mut done = 0;
    let mut next = |layers: &[LinearShape]| {
        progress(&layers[0].prefix, done, 2 * count);
        done += 1;
    };
    let of = (backend, config, weights);
    let stacks = alone(of, judged, options, &mut next).await?;
    compare(of, stacks, judged.compared, options, &mut next).await
}

/// A model in full precision on its way to a device.
type Dense<'a, B> = (&'a B, &'a Config, &'a dyn Weights);

/// A stack that is quantized by itself.
struct Alone {
    stack: StackIndex,
    layers: Vec<LinearShape>,
    /// With the fewest stages.
    packed: Vec<Packed>,
    errors: [f64; 2],
}

/// All stacks, each quantized as if it were the only one.
async fn alone<B: Backend>(
    (backend, config, weights): Dense<'_, B>,
    judged: Judged<'_>,
    options: CalibrateOptions,
    next: &mut dyn FnMut(&[LinearShape]),
) -> Result<Vec<Alone>> {
    check(config, judged.text, &options)?;
    let load = load_options(judged.text, &options);
    let room = (load.batch, options.recipe.rotated);
    fits(backend, config, judged.text, room)?;
    let mut quiet = |_: &str| {};
    let mut loader = Loader {
        backend: &backend,
        config,
        weights,
        options: load,
        progress: &mut quiet,
    };
    let mut streams = Streams::new(&loader, judged.text, load, options.recipe.rotated).await?;
    let mut all = Vec::new();
    for block in 0..config.layers {
        let full = loader.block(block).await?;
        streams.layer = block;
        for (stack, layers) in config.stacks(block).into_iter().enumerate() {
            next(&layers);
            let moments = streams.moments(Reads::stack(stack, &full, &[])).await?;
            let (packed, errors) = weigh(&loader, &layers, &moments, (judged, options)).await?;
            all.push(Alone {
                stack: StackIndex::Block { block, stack },
                layers,
                packed,
                errors,
            });
            streams.advance(stack, (&full, &[]), true).await?;
        }
    }
    if !options.recipe.skip_head {
        let layers = vec![config.head()];
        next(&layers);
        let moments = streams.moments(Reads::Head).await?;
        let (packed, errors) = weigh(&loader, &layers, &moments, (judged, options)).await?;
        all.push(Alone {
            stack: StackIndex::Head,
            layers,
            packed,
            errors,
        });
    }
    Ok(all)
}

/// Layers that read the same inputs with the fewest stages, and the squared errors of their outputs with those and with
/// one more.
async fn weigh<'a, B: Backend>(
    loader: &Loader<'_, &'a B>,
    layers: &[LinearShape],
    moments: &Moments<B>,
    (judged, options): (Judged<'_>, CalibrateOptions),
) -> Result<(Vec<Packed>, [f64; 2])> {
    let backend: &'a B = loader.backend;
    let rows = layers.iter().map(|l| l.out_features.next_multiple_of(2));
    let most = rows.max().unwrap_or(0);
    let factor = Factor::new(backend, moments, options.damping, most).await?;
    let (mut fewest, mut errors) = (Vec::new(), [0.0; 2]);
    for shape in layers {
        backend.scope(&|| format!("{}, weighing", shape.prefix));
        let tensor = loader.dense(&loader.config.dense_name(&shape.prefix))?;
        let values = tensor.to_f32(0..tensor.elements());
        let values = options.recipe.rotate(values, shape.in_features, false);
        let weight = (&values[..], shape.out_features);
        for (more, sum) in errors.iter_mut().enumerate() {
            let recipe = (judged.stages + more, options.recipe.granularity);
            let layer = Layer::new(backend, &factor, moments, weight, recipe).await?;
            let (packed, error) = layer.weigh().await?;
            *sum += error;
            fewest.extend(Some(packed).filter(|_| more == 0));
        }
    }
    Ok((fewest, errors))
}

/// Divergences of the model from itself with one stack after the other quantized.
async fn compare<B: Backend>(
    (backend, config, weights): Dense<'_, B>,
    stacks: Vec<Alone>,
    compared: &[Vec<u32>],
    options: CalibrateOptions,
    next: &mut dyn FnMut(&[LinearShape]),
) -> Result<Vec<Sensitivity>> {
    check(config, compared, &options)?;
    let longest = compared.iter().map(Vec::len).max().unwrap_or(1);
    let load = LoadOptions {
        batch: 2048.max(longest),
        ..load_options(compared, &options)
    };
    let mut quiet = |_: &str| {};
    let reference = Model::load(backend, config, weights, load, &mut quiet).await?;
    let mut model = Model::load(backend, config, weights, load, &mut quiet).await?;
    let targets: Vec<Vec<u32>> = compared.iter().map(|ids| after(ids)).collect();
    let segment = |(tokens, targets)| Segment {
        position: 0,
        tokens,
        targets,
    };
    let pairs = compared.iter().map(Vec::as_slice);
    let segments: Vec<_> = pairs
        .zip(targets.iter().map(Vec::as_slice))
        .map(segment)
        .collect();
    let mut all = Vec::new();
    for alone in stacks {
        next(&alone.layers);
        let views: Vec<_> = alone.packed.into_iter().map(PackedView::from).collect();
        let name = alone.layers[0].prefix.clone();
        let quantized = Linear::phase(&backend, name, &views, options.activations)?;
        let quantized = quantized.rotated(options.recipe.rotated);
        let dense = std::mem::replace(slot(&mut model, alone.stack), quantized);
        let mut scorer = Scorer::new(&model, Some(&reference), longest)?;
        let scores = scorer.score(&segments).await?;
        drop(scorer);
        let divergences = scores.iter().filter_map(|s| s.reference);
        let sum: f64 = divergences.map(|r| f64::from(r.divergence)).sum();
        *slot(&mut model, alone.stack) = dense;
        all.push(Sensitivity {
            layers: alone.layers,
            divergence: sum / scores.len().max(1) as f64,
            errors: alone.errors,
        });
    }
    Ok(all)
}

/// What follows each token.
fn after(ids: &[u32]) -> Vec<u32> {
    ids[1..].iter().copied().chain([IGNORED]).collect()
}

/// A stack of a model.
fn slot<B: Backend>(model: &mut Model<B>, stack: StackIndex) -> &mut Linear<B> {
    match stack {
        StackIndex::Block { block, stack } => &mut model.weights.blocks[block].stacks[stack],
        StackIndex::Head => &mut model.weights.head,
    }
}
