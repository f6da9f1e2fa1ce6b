//! From named tensors to a model on a device.

use super::config::LinearShape;
use super::linear::Linear;
use super::loaded::{Block, DeviceWeights, Model};
use super::memory::Memory;
use super::options::LoadOptions;
use super::rows::{Rows, Shard, float_rows, host_rows, padded_rows, upload_rows};
use super::weights::{packed_view, required};
use super::{Config, Form, Method, PackedView, Tensor, Weights, dequantize, finite, quantize};
use crate::backend::{Backend, upload_new};
use crate::error::{Error, Result};
use crate::ops::MatrixDtype;
use crate::ops::memory::Noise;
use crate::ops::quantize::{ConjugateExpand, ConjugateWeight};
use crate::ops::{Bindings, Op};

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
        for recipe in [options.recipe, weights.recipe()] {
            recipe.check_blocks(config)?;
        }
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
        options.recipe.check_blocks(config)?;
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
    /// Dense rows of this type that were made here.
    Made(Rows<'static>, MatrixDtype),
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
            norm: self.vector(&self.config.norm_name())?,
            head: self.linear(&[self.config.head()], 0).await?,
        })
    }

    /// The embedding, and the type of its elements.
    pub(crate) fn embedding(&self) -> Result<(Vec<Shard<B>>, MatrixDtype)> {
        let name = self.config.embed_name();
        let embed = self.dense(&name)?;
        let dtype = embed.dtype.in_buffers();
        let row_words = dtype.words(self.config.hidden);
        let rows = [padded_rows(embed, row_words)];
        let shards = upload_rows(self.backend, &name, &rows, row_words)?;
        Ok((shards, dtype))
    }

    /// Block number `l`.
    pub(crate) async fn block(&mut self, l: usize) -> Result<Block<B>> {
        let norms = self.config.block_norms(l);
        let norms = norms.iter().map(|name| self.vector(name));
        let norms = norms.collect::<Result<_>>()?;
        let mut stacks = Vec::new();
        for (stack, layers) in self
            .config
            .blueprint()
            .stacks
            .iter()
            .zip(self.config.stacks(l))
        {
            let half_run = self.config.half_run(stack);
            stacks.push(self.linear(&layers, half_run).await?);
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

    /// A stack of layers with the same input; outputs lie together in runs of `half_run` complex rows.
    async fn linear(&mut self, shapes: &[LinearShape], half_run: usize) -> Result<Linear<B>> {
        let mut layers = Vec::with_capacity(shapes.len());
        for shape in shapes {
            layers.push(self.layer(shape, half_run).await?);
            (self.progress)(&shape.prefix);
        }
        let name = joined(shapes);
        let columns = shapes[0].in_features;
        let dtype = common_type(&layers);
        let (mut phase, mut dense) = (Vec::new(), Vec::new());
        for layer in layers {
            match layer {
                Layer::Phase(packed) => phase.push(packed),
                Layer::Made(rows, _) => dense.push(rows),
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
            return Ok(linear.rotated(recipe.rotated).in_runs(half_run));
        }
        let linear = Linear::dense(self.backend, name, columns, dtype, &dense)?;
        let is_head = shapes[0].prefix == Config::HEAD;
        let unrounded = is_head && self.config.blueprint().dense_head;
        Ok(linear.of_form(shapes[0].form).unrounded(unrounded))
    }

    async fn layer(&self, shape: &LinearShape, half_run: usize) -> Result<Layer<'a>> {
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
            let checked = name == self.config.embed_name() && !self.weights.allow_nonfinite();
            let tensor = match checked {
                true => required(self.weights, &name),
                false => self.dense(&name),
            };
            return Ok(match shape.form {
                Form::WidelyLinear => Layer::Dense(tensor?),
                Form::Conjugate => expanded(&tensor?, half_run),
            });
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
        Ok(Layer::Made(host_rows(rows, row_words), MatrixDtype::F32))
    }
}

/// The real matrix of a dense complex layer, whose stored weight has half as many columns.
fn expanded(tensor: &Tensor<'_>, half_run: usize) -> Layer<'static> {
    let (rows, columns) = (tensor.shape[0] / 2, tensor.shape[1]);
    let expand = ConjugateExpand {
        weight: ConjugateWeight {
            rows,
            columns,
            half_run,
        },
        dtype: MatrixDtype::F32,
    };
    let values = tensor.to_f32(0..tensor.elements());
    let mut matrix = vec![0.0f32; 2 * values.len()];
    let mut b = Bindings::new();
    b.push_read(bytemuck::cast_slice(&values));
    b.push_write(bytemuck::cast_slice_mut(&mut matrix));
    expand.host(&mut b);
    let dtype = tensor.dtype.in_buffers();
    let row_words = dtype.row_words(2 * columns);
    let rows = dtype.encode_rows(&matrix, 2 * columns, row_words);
    Layer::Made(host_rows(rows, row_words), dtype)
}

/// The element type of a stack of dense layers: the one that all have, or the one that holds the values of all.
/// Merging an adapter into some layers of a checkpoint leaves them in another type than their neighbours.
fn common_type(layers: &[Layer<'_>]) -> MatrixDtype {
    let mut types = layers.iter().map(|layer| match layer {
        Layer::Dense(tensor) => tensor.dtype.in_buffers(),
        Layer::Made(_, dtype) => *dtype,
        Layer::Phase(_) => MatrixDtype::F32,
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
        for (of, layers) in config.blueprint().stacks.iter().zip(config.stacks(l)) {
            stacks.push(stack(&layers).await?.in_runs(config.half_run(of)));
        }
        blocks.push(Block { norms, stacks });
    }
    Ok(DeviceWeights {
        embed: synthetic_embedding(backend, config).await?,
        embed_dtype: MatrixDtype::F16,
        blocks,
        norm: ones(config.hidden)?,
        head: match options.recipe.skip_head {
            false => stack(&[config.head()]).await?,
            true => synthetic_head(backend, config).await?,
        },
    })
}

/// A dense head in f16 made from noise.
async fn synthetic_head<B: Backend>(backend: &B, config: &Config) -> Result<Linear<B>> {
    let row_words = MatrixDtype::F16.row_words(config.hidden);
    let shards = noise_rows(backend, config.vocab, row_words).await?;
    let head = Linear::dense_on_device(config.head(), MatrixDtype::F16, shards);
    Ok(head.unrounded(config.blueprint().dense_head))
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

/// What layers that run as one product are called together.
pub(crate) fn joined(layers: &[LinearShape]) -> String {
    let names: Vec<_> = layers.iter().map(|l| l.prefix.as_str()).collect();
    names.join(" + ")
}
