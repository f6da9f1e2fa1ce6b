//! Models with weights made from noise, for benchmarks.

use super::autotune::tune;
use super::config::LinearShape;
use super::forward::ExpertWeights;
use super::linear::Linear;
use super::load::joined;
use super::loaded::{Block, DeviceWeights, Model};
use super::memory::Memory;
use super::options::LoadOptions;
use super::pipeline::{Pipeline, layers};
use super::rows::Shard;
use super::{Config, Method};
use crate::backend::{Backend, upload_new};
use crate::error::{Error, Result};
use crate::ops::MatrixDtype;
use crate::ops::memory::Noise;
use std::ops::Range;

impl<B: Backend> Model<B> {
    /// A model of this shape with weights made on the device from noise, for benchmarks: phase layers of
    /// `options.recipe` with one pair of scales per tensor and stage, or f16 where that keeps full precision; an f16 embedding.
    pub async fn synthetic(backend: B, config: &Config, options: LoadOptions) -> Result<Self> {
        Self::synthetic_among(backend, config, options, None).await
    }

    /// [`Model::synthetic`] of the layers of one rank, as [`Model::load_among`] loads them.
    pub async fn synthetic_among(
        backend: B,
        config: &Config,
        options: LoadOptions,
        pipeline: Option<Pipeline>,
    ) -> Result<Self> {
        let stages = match options.recipe.method {
            Method::Phase { stages } => Some(stages),
            Method::Full => None,
            _ => {
                return Err(Error::usage(
                    "synthetic weights are made for phase layers, and in full precision",
                    "ask for stages of the method fairy2i, or for the method full",
                ));
            }
        };
        options.recipe.check_blocks(config)?;
        tune(&backend, config, &options).await?;
        let part = pipeline.as_ref().map(|pipeline| pipeline.part(config));
        let held = part.as_ref().unwrap_or(config);
        Memory::of(&backend, held, None, &options, 1)?.check(&backend)?;
        let own = layers(pipeline.as_ref(), config);
        let weights = synthetic_weights(&backend, config, options, (stages, own)).await?;
        let model = Self::from_weights(backend, config, options, weights)?;
        Ok(model.among(pipeline))
    }
}

async fn synthetic_weights<B: Backend>(
    backend: &B,
    config: &Config,
    options: LoadOptions,
    (stages, own): (Option<usize>, Range<usize>),
) -> Result<DeviceWeights<B>> {
    let ones = |width: usize| upload_new(backend, "norm", &vec![1f32.to_bits(); width]);
    let rotated = options.recipe.rotated;
    let stack = async |layers: &[LinearShape]| {
        let outs: Vec<usize> = layers.iter().map(|l| l.out_features).collect();
        let (name, inputs) = (joined(layers), layers[0].in_features);
        let form = layers[0].form;
        let linear = match stages {
            Some(stages) => {
                let mode = options.activations;
                Linear::synthetic(backend, name, form, outs, inputs, stages, mode).await?
            }
            None => {
                let row_words = MatrixDtype::F16.row_words(inputs);
                let shards = noise_rows(backend, outs.iter().sum(), row_words).await?;
                let dense = (MatrixDtype::F16, shards);
                Linear::dense_on_device(name, inputs, outs, dense).of_form(form)
            }
        };
        let bias = match layers.iter().any(|layer| layer.biased) {
            true => {
                let outputs: usize = layers.iter().map(|layer| layer.out_features).sum();
                Some(upload_new(backend, "bias", &vec![0; outputs])?)
            }
            false => None,
        };
        Ok::<_, Error>(linear.rotated(rotated).with_bias(bias))
    };
    let mut blocks = Vec::with_capacity(own.len());
    for l in own {
        let norms = config.blueprint().norms.iter();
        let norms = norms.map(|norm| ones((norm.width)(config)));
        let norms = norms.collect::<Result<_>>()?;
        let mut stacks = Vec::new();
        for (of, layers) in config.blueprint().stacks.iter().zip(config.stacks(l)) {
            stacks.push(stack(&layers).await?.in_runs(config.half_run(of)));
        }
        let mut layers = Vec::new();
        for [gate, up, down] in config.expert_linears(l) {
            layers.push([stack(&[gate, up]).await?, stack(&[down]).await?]);
        }
        let experts = match config.experts(l) {
            None => None,
            Some(experts) => Some(ExpertWeights {
                router: synthetic_dense(backend, config, experts.count).await?,
                layers,
            }),
        };
        blocks.push(Block {
            norms,
            stacks,
            experts,
        });
    }
    Ok(DeviceWeights {
        embed: synthetic_embedding(backend, config).await?,
        embed_dtype: MatrixDtype::F16,
        blocks,
        norm: ones(config.hidden)?,
        head: match options.recipe.skip_head {
            false => stack(&[config.head()]).await?,
            true => {
                let head = synthetic_dense(backend, config, config.vocab).await?;
                head.unrounded(config.blueprint().dense_head)
            }
        },
    })
}

/// A dense layer of `outputs` values of the residual stream, in f16, made from noise: a head or a router.
async fn synthetic_dense<B: Backend>(
    backend: &B,
    config: &Config,
    outputs: usize,
) -> Result<Linear<B>> {
    let row_words = MatrixDtype::F16.row_words(config.hidden);
    let shards = noise_rows(backend, outputs, row_words).await?;
    let dense = (MatrixDtype::F16, shards);
    let dense = Linear::dense_on_device(config.head().prefix, config.hidden, vec![outputs], dense);
    Ok(dense.unrounded(true))
}

/// An embedding in f16 made from noise.
async fn synthetic_embedding<B: Backend>(backend: &B, config: &Config) -> Result<Vec<Shard<B>>> {
    noise_rows(backend, config.vocab, MatrixDtype::F16.words(config.hidden)).await
}

/// Rows of f16 noise in as few buffers as bindings allow.
async fn noise_rows<B: Backend>(
    backend: &B,
    count: usize,
    row_words: usize,
) -> Result<Vec<Shard<B>>> {
    let per_shard = backend.facts().max_words / row_words;
    let mut embed = Vec::new();
    for first in (0..count).step_by(per_shard) {
        let rows = per_shard.min(count - first);
        let buffer = backend.alloc("noise", rows * row_words)?;
        let noise = Noise::halves(rows * row_words, 77);
        backend.run(&noise, &[&buffer]).await?;
        embed.push(Shard {
            first,
            rows,
            buffer,
        });
    }
    Ok(embed)
}
