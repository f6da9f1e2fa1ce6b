//! From named tensors to a model on a device.

use super::config::LinearShape;
use super::linear::Linear;
use super::loaded::{Block, DeviceWeights, Model};
use super::memory::Memory;
use super::options::LoadOptions;
use super::rows::{Rows, Shard, float_rows, host_rows, padded_rows, upload_rows};
use super::weights::{packed_view, required};
use super::{Config, Method, PackedView, Tensor, Weights, dequantize, finite, quantize};
use crate::backend::{Backend, upload_new};
use crate::error::{Error, Result};
use crate::ops::MatrixDtype;
use crate::ops::memory::Noise;

impl<B: Backend> Model<B> {
    /// Loads (and quantizes, if `options.recipe` asks for it) every tensor. `progress` hears the name of each
    /// linear layer when it is ready.
    ///
    /// # Errors
    /// [`Error::Device`] before anything is allocated where the device has no room for the model and one text; those
    /// of reading weights and of the device.
    pub async fn load(
        backend: B,
        config: &Config,
        weights: &dyn Weights,
        options: LoadOptions,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        Memory::of(&backend, config, Some(weights), &options, 1)?.check(&backend)?;
        let mut loader = Loader {
            backend: &backend,
            config,
            weights,
            options,
            progress,
        };
        let weights = loader.weights().await?;
        Self::from_weights(backend, config, options, weights)
    }

    /// A model of this shape with weights made on the device from noise, for benchmarks: phase layers of
    /// `options.recipe`, one pair of scales per tensor and stage, an f16 embedding.
    pub async fn synthetic(backend: B, config: &Config, options: LoadOptions) -> Result<Self> {
        let Method::Phase { stages } = options.recipe.method else {
            return Err(Error::usage(
                "synthetic weights are made for phase layers only",
                "ask for stages of the method fairy2i",
            ));
        };
        Memory::of(&backend, config, None, &options, 1)?.check(&backend)?;
        let weights = synthetic_weights(&backend, config, options, stages).await?;
        Self::from_weights(backend, config, options, weights)
    }
}

/// Brings tensors to a device.
pub(crate) struct Loader<'a, B: Backend> {
    pub backend: &'a B,
    pub config: &'a Config,
    pub weights: &'a dyn Weights,
    pub options: LoadOptions,
    pub progress: &'a mut dyn FnMut(&str),
}

/// A layer on its way to the device, borrowed from its file where that is possible.
enum Layer<'a> {
    /// As a checkpoint has it.
    Dense(Tensor<'a>),
    /// Dense rows that were made here.
    Made(Rows<'static>),
    /// Codes and scales.
    Phase(PackedView<'a>),
}

impl<'a, B: Backend> Loader<'a, B> {
    async fn weights(&mut self) -> Result<DeviceWeights<B>> {
        let (embed, embed_dtype) = self.embedding()?;
        let mut blocks = Vec::with_capacity(self.config.layers);
        for l in 0..self.config.layers {
            blocks.push(self.block(l).await?);
        }
        Ok(DeviceWeights {
            embed,
            embed_dtype,
            blocks,
            norm: self.vector(Config::NORM)?,
            head: self.linear(&[self.config.head()]).await?,
        })
    }

    /// The embedding, and the type of its elements.
    pub(crate) fn embedding(&self) -> Result<(Vec<Shard<B>>, MatrixDtype)> {
        let embed = self.dense(Config::EMBED)?;
        let dtype = embed.dtype.in_buffers();
        let row_words = dtype.words(self.config.hidden);
        let rows = [padded_rows(embed, row_words)];
        let shards = upload_rows(self.backend, Config::EMBED, &rows, row_words)?;
        Ok((shards, dtype))
    }

    /// Block number `l`.
    pub(crate) async fn block(&mut self, l: usize) -> Result<Block<B>> {
        let norms = self.config.block_norms(l);
        let norms = norms.iter().map(|name| self.vector(name));
        let norms = norms.collect::<Result<_>>()?;
        let mut stacks = Vec::new();
        for layers in self.config.stacks(l) {
            stacks.push(self.linear(&layers).await?);
        }
        Ok(Block { norms, stacks })
    }

    /// A dense tensor whose values are numbers.
    pub(crate) fn dense(&self, name: &str) -> Result<Tensor<'a>> {
        let tensor = required(self.weights, name)?;
        finite::numbers(name, tensor, self.weights.allow_nonfinite())
    }

    /// A dense vector on the device, as f32.
    pub(crate) fn vector(&self, name: &str) -> Result<B::Buffer> {
        let tensor = self.dense(name)?;
        let values = tensor.to_f32(0..tensor.elements());
        upload_new(self.backend, name, bytemuck::cast_slice(&values))
    }

    /// A stack of layers with the same input.
    async fn linear(&mut self, shapes: &[LinearShape]) -> Result<Linear<B>> {
        let mut layers = Vec::with_capacity(shapes.len());
        for shape in shapes {
            layers.push(self.layer(shape).await?);
            (self.progress)(&shape.prefix);
        }
        let name = joined(shapes);
        let columns = shapes[0].in_features;
        let dtype = common_type(&layers);
        let (mut phase, mut dense) = (Vec::new(), Vec::new());
        for layer in layers {
            match layer {
                Layer::Phase(packed) => phase.push(packed),
                Layer::Made(rows) => dense.push(rows),
                Layer::Dense(tensor) if tensor.dtype.in_buffers() == dtype => {
                    dense.push(padded_rows(tensor, dtype.row_words(columns)));
                }
                Layer::Dense(tensor) => dense.push(float_rows(tensor, dtype.row_words(columns))),
            }
        }
        if dense.is_empty() {
            let packed = self.weights.recipe();
            let recipe = match packed.method {
                Method::Full => self.options.recipe,
                _ => packed,
            };
            let linear = Linear::phase(self.backend, name, &phase, self.options.activations)?;
            return Ok(linear.rotated(recipe.rotated));
        }
        Linear::dense(self.backend, name, columns, dtype, &dense)
    }

    async fn layer(&self, shape: &LinearShape) -> Result<Layer<'a>> {
        let packed = self.weights.recipe();
        let is_head = shape.prefix == Config::HEAD;
        if packed.method != Method::Full && !(is_head && packed.skip_head) {
            let layer = packed_view(self.weights, packed, shape)?;
            return self.deploy(shape, layer).await;
        }
        let name = self.config.dense_name(&shape.prefix);
        let recipe = self.options.recipe;
        // A packed folder was quantized as a whole: its dense head stays dense.
        let keep = packed.method != Method::Full
            || recipe.method == Method::Full
            || is_head && recipe.skip_head;
        if keep {
            // A tied head was checked when it was loaded as the embedding.
            let checked = name == Config::EMBED && !self.weights.allow_nonfinite();
            let tensor = match checked {
                true => required(self.weights, &name),
                false => self.dense(&name),
            };
            return tensor.map(Layer::Dense);
        }
        let tensor = required(self.weights, &name)?;
        let values = tensor.to_f32(0..tensor.elements());
        let values = recipe.rotate(values, shape.in_features, false);
        let packed = quantize(
            self.backend,
            &name,
            &values,
            shape.form,
            shape.out_features,
            shape.in_features,
            recipe.method.of(&shape.prefix),
            recipe.granularity,
            self.weights.allow_nonfinite(),
        )
        .await?;
        self.deploy(shape, packed.into()).await
    }

    /// Phase layers run as they are; the real baselines run as dense layers of their few values.
    async fn deploy(&self, shape: &LinearShape, packed: PackedView<'a>) -> Result<Layer<'a>> {
        if let Method::Phase { .. } = packed.method {
            return Ok(Layer::Phase(packed));
        }
        let values = dequantize(self.backend, &packed.into_packed()).await?;
        let (columns, row_words) = (
            shape.in_features,
            MatrixDtype::F32.row_words(shape.in_features),
        );
        let rows = MatrixDtype::F32.encode_rows(&values, columns, row_words);
        Ok(Layer::Made(host_rows(rows, row_words)))
    }
}

/// The element type of a stack of dense layers: the one that all have, or the one that holds the values of all.
/// Merging an adapter into some layers of a checkpoint leaves them in another type than their neighbours.
fn common_type(layers: &[Layer<'_>]) -> MatrixDtype {
    let mut types = layers.iter().map(|layer| match layer {
        Layer::Dense(tensor) => tensor.dtype.in_buffers(),
        Layer::Made(_) | Layer::Phase(_) => MatrixDtype::F32,
    });
    let first = types.next().unwrap_or(MatrixDtype::F32);
    if types.all(|dtype| dtype == first) {
        first
    } else {
        MatrixDtype::F32
    }
}

async fn synthetic_weights<B: Backend>(
    backend: &B,
    config: &Config,
    options: LoadOptions,
    stages: usize,
) -> Result<DeviceWeights<B>> {
    let ones = |width: usize| upload_new(backend, "norm", &vec![1f32.to_bits(); width]);
    let rotated = options.recipe.rotated;
    let stack = async |layers: &[LinearShape]| {
        let linear = Linear::synthetic(
            backend,
            joined(layers),
            layers[0].form,
            layers.iter().map(|l| l.out_features).collect(),
            layers[0].in_features,
            stages,
            options.activations,
        );
        Ok::<_, Error>(linear.await?.rotated(rotated))
    };
    let mut blocks = Vec::with_capacity(config.layers);
    for l in 0..config.layers {
        let norms = config.blueprint().norms.iter();
        let norms = norms.map(|norm| ones((norm.width)(config)));
        let norms = norms.collect::<Result<_>>()?;
        let mut stacks = Vec::new();
        for layers in config.stacks(l) {
            stacks.push(stack(&layers).await?);
        }
        blocks.push(Block { norms, stacks });
    }
    Ok(DeviceWeights {
        embed: synthetic_embedding(backend, config).await?,
        embed_dtype: MatrixDtype::F16,
        blocks,
        norm: ones(config.hidden)?,
        head: stack(&[config.head()]).await?,
    })
}

/// An embedding in f16 made from noise.
async fn synthetic_embedding<B: Backend>(backend: &B, config: &Config) -> Result<Vec<Shard<B>>> {
    let row_words = MatrixDtype::F16.words(config.hidden);
    let per_shard = backend.facts().max_words / row_words;
    let mut embed = Vec::new();
    for first in (0..config.vocab).step_by(per_shard) {
        let rows = per_shard.min(config.vocab - first);
        let buffer = backend.alloc(Config::EMBED, rows * row_words)?;
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

/// What layers that run as one product are called together.
pub(crate) fn joined(layers: &[LinearShape]) -> String {
    let names: Vec<_> = layers.iter().map(|l| l.prefix.as_str()).collect();
    names.join(" + ")
}
