//! From named tensors to a model on a device.

use super::config::LinearShape;
use super::forward::{Block, LoadOptions, Model, Parts};
use super::linear::Linear;
use super::memory::Memory;
use super::rows::{Rows, Shard, float_rows, held_rows, padded_rows, upload_rows};
use super::weights::{packed_view, required};
use super::{Config, Dtype, Method, PackedView, Tensor, Weights, dequantize, finite, quantize};
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
        let parts = loader.parts().await?;
        Self::from_parts(backend, config, options, parts)
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
        let parts = synthetic_parts(&backend, config, options, stages).await?;
        Self::from_parts(backend, config, options, parts)
    }
}

/// How a tensor's elements lie in buffers.
pub(crate) fn stored_dtype(dtype: Dtype) -> MatrixDtype {
    match dtype {
        Dtype::F32 | Dtype::U32 => MatrixDtype::F32,
        Dtype::F16 => MatrixDtype::F16,
        Dtype::BF16 => MatrixDtype::Bf16,
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
    MatrixDtype(Tensor<'a>),
    Made(Rows<'static>),
    Phase(PackedView<'a>),
}

impl<'a, B: Backend> Loader<'a, B> {
    async fn parts(&mut self) -> Result<Parts<B>> {
        let (embed, embed_stored) = self.embedding()?;
        let mut blocks = Vec::with_capacity(self.config.layers);
        for l in 0..self.config.layers {
            blocks.push(self.block(l).await?);
        }
        let linears = self.config.linears();
        let head = &linears[7 * self.config.layers..];
        Ok(Parts {
            embed,
            embed_stored,
            blocks,
            norm: self.vector("model.norm.weight")?,
            head: self.linear(head).await?,
        })
    }

    /// The embedding, and the type of its elements.
    pub fn embedding(&self) -> Result<(Vec<Shard<B>>, MatrixDtype)> {
        let embed = self.dense(Config::EMBED)?;
        let stored = stored_dtype(embed.dtype);
        let row_words = stored.words(self.config.hidden);
        let rows = [padded_rows(embed, row_words)];
        let shards = upload_rows(self.backend, Config::EMBED, &rows, row_words)?;
        Ok((shards, stored))
    }

    /// Block number `l`.
    pub async fn block(&mut self, l: usize) -> Result<Block<B>> {
        let name = |what: &str| format!("model.layers.{l}.{what}.weight");
        let linears = self.config.linears();
        let layer = &linears[7 * l..7 * l + 7];
        Ok(Block {
            attention_norm: self.vector(&name("input_layernorm"))?,
            qkv: self.linear(&layer[..3]).await?,
            o: self.linear(&layer[3..4]).await?,
            mlp_norm: self.vector(&name("post_attention_layernorm"))?,
            gate_up: self.linear(&layer[4..6]).await?,
            down: self.linear(&layer[6..7]).await?,
        })
    }

    /// A dense tensor whose values are numbers.
    pub fn dense(&self, name: &str) -> Result<Tensor<'a>> {
        let tensor = required(self.weights, name)?;
        finite::numbers(name, tensor, self.weights.allow_nonfinite())
    }

    /// A dense vector on the device, as f32.
    pub fn vector(&self, name: &str) -> Result<B::Buffer> {
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
        let names: Vec<_> = shapes.iter().map(|s| s.prefix.as_str()).collect();
        let place = names.join(" + ");
        let columns = shapes[0].in_features;
        let stored = common_type(&layers);
        let (mut phase, mut dense) = (Vec::new(), Vec::new());
        for layer in layers {
            match layer {
                Layer::Phase(packed) => phase.push(packed),
                Layer::Made(rows) => dense.push(rows),
                Layer::MatrixDtype(tensor) if stored_dtype(tensor.dtype) == stored => {
                    dense.push(padded_rows(tensor, stored.row_words(columns)));
                }
                Layer::MatrixDtype(tensor) => {
                    dense.push(float_rows(tensor, stored.row_words(columns)))
                }
            }
        }
        if dense.is_empty() {
            let stored = self.weights.recipe();
            let recipe = match stored.method {
                Method::Full => self.options.recipe,
                _ => stored,
            };
            let linear = Linear::phase(self.backend, place, &phase, self.options.activations)?;
            return Ok(linear.rotated(recipe.rotated));
        }
        Linear::dense(self.backend, place, columns, stored, &dense)
    }

    async fn layer(&self, shape: &LinearShape) -> Result<Layer<'a>> {
        let stored = self.weights.recipe();
        let is_head = shape.prefix == Config::HEAD;
        if stored.method != Method::Full && !(is_head && stored.skip_head) {
            let packed = packed_view(self.weights, stored, shape)?;
            return self.deploy(shape, packed).await;
        }
        let name = self.config.dense_name(&shape.prefix);
        let recipe = self.options.recipe;
        // a packed folder was quantized as a whole: its dense head stays dense
        let keep = stored.method != Method::Full
            || recipe.method == Method::Full
            || is_head && recipe.skip_head;
        if keep {
            // A tied head was checked when it was loaded as the embedding.
            let checked = name == Config::EMBED && !self.weights.allow_nonfinite();
            let tensor = match checked {
                true => required(self.weights, &name),
                false => self.dense(&name),
            };
            return tensor.map(Layer::MatrixDtype);
        }
        let tensor = required(self.weights, &name)?;
        let values = tensor.to_f32(0..tensor.elements());
        let values = recipe.rotate(values, shape.in_features, false);
        let packed = quantize(
            self.backend,
            &name,
            &values,
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
        Ok(Layer::Made(held_rows(rows, row_words)))
    }
}

/// The element type of a stack of dense layers: the one that all have, or the one that holds the values of all.
/// Merging an adapter into some layers of a checkpoint leaves them in another type than their neighbours.
fn common_type(layers: &[Layer<'_>]) -> MatrixDtype {
    let mut types = layers.iter().map(|layer| match layer {
        Layer::MatrixDtype(tensor) => stored_dtype(tensor.dtype),
        Layer::Made(_) | Layer::Phase(_) => MatrixDtype::F32,
    });
    let first = types.next().unwrap_or(MatrixDtype::F32);
    if types.all(|stored| stored == first) {
        first
    } else {
        MatrixDtype::F32
    }
}

async fn synthetic_parts<B: Backend>(
    backend: &B,
    config: &Config,
    options: LoadOptions,
    stages: usize,
) -> Result<Parts<B>> {
    let linears = config.linears();
    let ones = || upload_new(backend, "norm", &vec![1f32.to_bits(); config.hidden]);
    let stack = |layers: &[LinearShape]| {
        let names: Vec<_> = layers.iter().map(|s| s.prefix.as_str()).collect();
        Linear::synthetic(
            backend,
            names.join(" + "),
            layers.iter().map(|l| l.out_features).collect(),
            layers[0].in_features,
            stages,
            options.activations,
        )
    };
    let rotated = options.recipe.rotated;
    let mut blocks = Vec::with_capacity(config.layers);
    for layer in linears.chunks_exact(7).take(config.layers) {
        blocks.push(Block {
            attention_norm: ones()?,
            qkv: stack(&layer[..3]).await?.rotated(rotated),
            o: stack(&layer[3..4]).await?.rotated(rotated),
            mlp_norm: ones()?,
            gate_up: stack(&layer[4..6]).await?.rotated(rotated),
            down: stack(&layer[6..7]).await?.rotated(rotated),
        });
    }
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
    Ok(Parts {
        embed,
        embed_stored: MatrixDtype::F16,
        blocks,
        norm: ones()?,
        head: stack(&linears[7 * config.layers..]).await?.rotated(rotated),
    })
}
