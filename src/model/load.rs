//! From named tensors to a model on a device.

use super::autotune::tune;
use super::config::LinearShape;
use super::forward::ExpertWeights;
use super::linear::Linear;
use super::loaded::{Block, DeviceWeights, Model};
use super::memory::Memory;
use super::options::LoadOptions;
use super::pipeline::{Pipeline, layers};
use super::rows::{Rows, Shard, float_rows, host_rows, padded_rows, upload_rows};
use super::weights::{packed_view, required};
use super::{Config, Form, Method, PackedView, Tensor, Weights, dequantize, finite, quantize};
use crate::backend::{Backend, upload_new};
use crate::error::Result;
use crate::ops::MatrixDtype;
use crate::ops::quantize::{ConjugateExpand, ConjugateWeight};
use crate::ops::{Bindings, Op};
use std::ops::Range;

impl<B: Backend> Model<B> {
    /// Loads (and quantizes, if `options.recipe` asks for it) every tensor. `progress` hears the name of each
    /// linear layer when it is ready.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) before anything is allocated where the device has no room for the model
    /// and one text; those of reading weights and of the device.
    pub async fn load(
        backend: B,
        config: &Config,
        weights: &dyn Weights,
        options: LoadOptions,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        Self::load_among(backend, config, weights, options, None, progress).await
    }

    /// [`Model::load`] of the layers of one rank; all ranks must call it, and make the same calls then.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub async fn load_among(
        backend: B,
        config: &Config,
        weights: &dyn Weights,
        options: LoadOptions,
        pipeline: Option<Pipeline>,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        for recipe in [options.recipe, weights.recipe()] {
            recipe.check_blocks(config)?;
        }
        tune(&backend, config, &options).await?;
        let part = pipeline.as_ref().map(|pipeline| pipeline.part(config));
        let held = part.as_ref().unwrap_or(config);
        Memory::of(&backend, held, Some(weights), &options, 1)?.check(&backend)?;
        let own = layers(pipeline.as_ref(), config);
        let mut loader = Loader {
            backend: &backend,
            config,
            weights,
            options,
            progress,
        };
        let weights = loader.weights(own).await?;
        let model = Self::from_weights(backend, config, options, weights)?;
        Ok(model.among(pipeline))
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
    /// All weights beside those of other layers.
    async fn weights(&mut self, layers: Range<usize>) -> Result<DeviceWeights<B>> {
        let (embed, embed_dtype) = self.embedding()?;
        let mut blocks = Vec::with_capacity(layers.len());
        for l in layers {
            blocks.push(self.block(l).await?);
        }
        let norm = self.norm(&self.config.norm_name())?;
        let head = self.linear(&[self.config.head()], 0).await?;
        self.weights.release();
        Ok(DeviceWeights {
            embed,
            embed_dtype,
            blocks,
            norm,
            head,
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
        let norms = norms.iter().map(|name| self.norm(name));
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
        let experts = self.experts(l).await?;
        Ok(Block {
            norms,
            stacks,
            experts,
        })
    }

    /// The mixture of experts of block `l`, if it has one.
    async fn experts(&mut self, l: usize) -> Result<Option<ExpertWeights<B>>> {
        if self.config.experts(l).is_none() {
            return Ok(None);
        }
        let (name, columns) = (self.config.router_name(l), self.config.hidden);
        let tensor = self.dense(&name)?;
        let dtype = tensor.dtype.in_buffers();
        let rows = [padded_rows(tensor, dtype.row_words(columns))];
        let router = Linear::dense(self.backend, name, columns, dtype, &rows)?;
        let mut layers = Vec::new();
        for [gate, up, down] in self.config.expert_linears(l) {
            let gate_up = self.linear(&[gate, up], 0).await?;
            layers.push([gate_up, self.linear(&[down], 0).await?]);
        }
        Ok(Some(ExpertWeights {
            router: router.unrounded(true),
            layers,
        }))
    }

    /// A dense tensor whose values are numbers.
    pub(crate) fn dense(&self, name: &str) -> Result<Tensor<'a>> {
        let tensor = required(self.weights, name)?;
        finite::numbers(name, tensor, self.weights.allow_nonfinite())
    }

    /// The weight of a norm on the device, as norms multiply by it.
    pub(crate) fn norm(&self, name: &str) -> Result<B::Buffer> {
        let mut values = self.values(name)?;
        let offset = self.config.blueprint().norm_offset;
        values.iter_mut().for_each(|value| *value += offset);
        upload_new(self.backend, name, bytemuck::cast_slice(&values))
    }

    /// The values of a dense tensor.
    fn values(&self, name: &str) -> Result<Vec<f32>> {
        let tensor = self.dense(name)?;
        Ok(tensor.to_f32(0..tensor.elements()))
    }

    /// The biases of a stack beside each other, zeros for layers without one; none where no layer has one.
    pub(crate) fn bias(&self, shapes: &[LinearShape]) -> Result<Option<B::Buffer>> {
        if !shapes.iter().any(|shape| shape.biased) {
            return Ok(None);
        }
        let each = shapes.iter().map(|shape| match shape.biased {
            true => self.values(&shape.bias()),
            false => Ok(vec![0.0; shape.out_features]),
        });
        let values = each.collect::<Result<Vec<_>>>()?.concat();
        upload_new(self.backend, "bias", bytemuck::cast_slice(&values)).map(Some)
    }

    /// A stack of layers with the same input; outputs lie together in runs of `half_run` complex rows.
    async fn linear(&mut self, shapes: &[LinearShape], half_run: usize) -> Result<Linear<B>> {
        // What came before lies on the device now, and needs no place on the host.
        self.backend.uploaded().await?;
        self.weights.release();
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
            let linear = linear.with_bias(self.bias(shapes)?);
            return Ok(linear.rotated(recipe.rotated).in_runs(half_run));
        }
        let linear = Linear::dense(self.backend, name, columns, dtype, &dense)?;
        let is_head = shapes[0].prefix == Config::HEAD;
        let unrounded = is_head && self.config.blueprint().dense_head;
        let linear = linear.with_bias(self.bias(shapes)?);
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

/// What layers that run as one product are called together.
pub(crate) fn joined(layers: &[LinearShape]) -> String {
    let names: Vec<_> = layers.iter().map(|l| l.prefix.as_str()).collect();
    names.join(" + ")
}
