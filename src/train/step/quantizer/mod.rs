//! Weights as the forward pass sees them: quantized from the masters each step, unpacked when they are used.

use super::parameters::{Kind, Parameter, head, of_block, quantized};
use super::shard::Owned;
use super::tensors::Tensors;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::quantize::{encode, exponent};
use crate::model::{Config, Recipe};
use crate::ops::quantize::{BaselineMean, BaselinePack, BaselineShard, BaselineSum};
use crate::ops::train::GradNorm;

mod dense;
mod fixed;
mod masters;
mod scales;
mod shape;

pub(super) use fixed::shared_words;
use shape::{Listed, Shape, made_dense, scratch_words, shape, staging_words, wide_words};
pub(super) use shape::{scales, words};

/// Codes and scales of one linear layer.
struct Codes<B: Backend> {
    parameter: usize,
    codes: B::Buffer,
    scales: B::Buffer,
    /// The same scales with zeros behind the first stage, where that is also trained by itself.
    first: Option<B::Buffer>,
}

/// All quantized layers, and the dense weights of one block and of the head.
pub(super) struct Quantizer<B: Backend> {
    pub(super) recipe: Recipe,
    layers: Vec<Codes<B>>,
    /// The parameter that holds the scales of the first layer, where scales are learned; those of the others follow.
    first_scales: Option<usize>,
    /// Whether those parameters have values.
    known_scales: bool,
    /// Whether codes are chosen stage by stage, because the first stage is also read by itself.
    nested: bool,
    /// Whether the dense weights are those of the first stage.
    first_only: bool,
    /// Whether the codes were given, and stay.
    fixed: bool,
    shared: Option<fixed::Shared<B>>,
    /// Dense weights of the parameters of a block, where they have to be made.
    block: Vec<Option<B::Buffer>>,
    head: Option<B::Buffer>,
    /// The block whose weights are in `block`.
    entered: Option<usize>,
    head_entered: bool,
    /// Whether the codes are those of the current masters.
    fresh: bool,
    /// How much of what the forward pass sees is the quantized weight; the rest is the master.
    share: f64,
    sums: B::Buffer,
    errors: B::Buffer,
    /// Whether the dense weights are in f16.
    half: bool,
    /// Where weights are unpacked before they become f16, or real matrices.
    staging: Option<B::Buffer>,
    /// Where a master of fewer bits is unpacked.
    unpacked: Option<B::Buffer>,
    /// A weight or its gradient as its layer has it, where layers have rotated inputs.
    rotated: Option<B::Buffer>,
    squares: B::Buffer,
    largest: B::Buffer,
    config: Config,
}

impl<B: Backend> Quantizer<B> {
    pub(super) fn new(
        backend: &B,
        recipe: Recipe,
        config: &Config,
        listed: Listed<'_>,
        half: bool,
    ) -> Result<Self> {
        let parameters = listed.0;
        let indices = quantized(recipe, config, parameters);
        let layers = layers(backend, recipe, parameters, &indices)?;
        let [sums, errors] = scratch_words(recipe, parameters, &indices);
        let shares = indices
            .iter()
            .map(|&i| norm_of(&parameters[i], 0).partials());
        let shares = 1 + shares.sum::<usize>();
        let made = made_dense(recipe, config, listed, half);
        let dense = |parameter: usize| {
            let words = || parameters[parameter].real_len() / if half { 2 } else { 1 };
            let alloc = || backend.alloc("dense weight", words());
            made.contains(&parameter).then(alloc).transpose()
        };
        let largest = indices.iter().map(|&i| parameters[i].len()).max();
        let staging = staging_words(&indices, parameters, half);
        let rotated = largest.filter(|_| recipe.rotated).unwrap_or(0);
        let some = |label: &str, words: usize| {
            let alloc = || backend.alloc(label, words);
            (words > 0).then(alloc).transpose()
        };
        let block = of_block(config, 0).filter(|_| config.layers > 0);
        let block = block.map(dense);
        Ok(Self {
            recipe,
            first_scales: parameters.iter().position(|p| p.kind == Kind::Scales),
            known_scales: false,
            nested: false,
            first_only: false,
            fixed: false,
            shared: None,
            block: block.collect::<Result<_>>()?,
            head: dense(head(config))?,
            entered: None,
            head_entered: false,
            fresh: false,
            share: 1.0,
            sums: backend.alloc("sums", sums)?,
            errors: backend.alloc("errors", errors)?,
            staging: some("weight", staging)?,
            unpacked: some("master", wide_words(&indices, listed))?,
            rotated: some("rotated weight", rotated)?,
            squares: backend.alloc("squares", shares)?,
            largest: backend.alloc("largest", shares)?,
            layers,
            half,
            config: config.clone(),
        })
    }

    /// Notes that the masters have changed.
    pub(super) fn stale(&mut self) {
        (self.fresh, self.entered, self.head_entered) = (false, None, false);
    }

    /// From now on the forward pass sees weights that are quantized to this share, and for the rest the masters.
    pub(super) fn set_share(&mut self, share: f64) {
        if self.share != share {
            self.share = share;
            (self.entered, self.head_entered) = (None, false);
        }
    }

    /// Whether the codes are those of the current masters.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The codes and scales of all layers, which the owners of their masters make.
    pub(super) fn coded<'a>(
        &'a self,
        parameters: &'a [Parameter],
        masters: &'a [Tensors<B>],
    ) -> impl Iterator<Item = Owned<'a, B>> {
        self.layers.iter().flat_map(|layer| {
            let [codes, scales, ..] = shape(self.recipe, &parameters[layer.parameter], 0).words();
            let owner = masters[layer.parameter].formats.owner;
            let both = [(&layer.codes, codes), (&layer.scales, scales)];
            both.map(|(buffer, words)| Owned {
                owner,
                buffer,
                words,
            })
        })
    }

    /// Makes scales and codes of all layers whose masters are here from these, unless they are there.
    ///
    /// # Errors
    /// [`Error::Usage`] when a master is NaN, infinite, or 2^127 and more.
    pub(super) async fn refresh(
        &mut self,
        backend: &B,
        parameters: &[Parameter],
        masters: &[Tensors<B>],
    ) -> Result<()> {
        if self.fresh {
            return Ok(());
        }
        backend.scope(&|| "quantizing".to_owned());
        if self.fixed {
            self.scales_of_fixed(backend, parameters, masters).await?;
            self.stale();
            self.fresh = true;
            return Ok(());
        }
        let exponents = self.exponents(backend, parameters, masters).await?;
        if let Some(first) = self.first_scales {
            if !self.known_scales {
                self.fit_scales(backend, parameters, masters, &exponents)
                    .await?;
                self.known_scales = true;
            }
            self.encode_learned(backend, parameters, masters, first)
                .await?;
        } else {
            self.encode_by_means(backend, parameters, masters, &exponents)
                .await?;
        }
        self.stale();
        self.fresh = true;
        Ok(())
    }

    /// Makes scales and codes as the papers choose them.
    async fn encode_by_means(
        &self,
        backend: &B,
        parameters: &[Parameter],
        masters: &[Tensors<B>],
        exponents: &[i32],
    ) -> Result<()> {
        for (layer, &exponent) in self.layers.iter().zip(exponents) {
            let parameter = &parameters[layer.parameter];
            if masters[layer.parameter].formats.absent {
                continue;
            }
            let master = self.rotated_master(backend, parameter, &masters[layer.parameter]);
            let master = master.await?;
            match shape(self.recipe, parameter, exponent) {
                Shape::Phase(shard) => {
                    let (scales, codes) = (&layer.scales, &layer.codes);
                    let buffers = [master, scales, &self.sums, codes, &self.errors];
                    encode(backend, shard, buffers).await?;
                }
                Shape::Baseline(rows) => self.baseline(backend, layer, rows, master).await?,
            }
        }
        Ok(())
    }

    async fn exponents(
        &self,
        backend: &B,
        parameters: &[Parameter],
        masters: &[Tensors<B>],
    ) -> Result<Vec<i32>> {
        // Where scales are known already, masters are only checked to be numbers, which needs no rotation.
        let used = self.first_scales.is_none() || !self.known_scales;
        let mut ends = vec![0];
        for layer in &self.layers {
            let parameter = &parameters[layer.parameter];
            let op = norm_of(parameter, ends[ends.len() - 1]);
            let tensors = &masters[layer.parameter];
            if tensors.formats.absent {
                ends.push(op.offset);
                continue;
            }
            let master = match used {
                true => self.rotated_master(backend, parameter, tensors).await?,
                false => self.master(backend, parameter, tensors).await?,
            };
            let buffers = [master, &self.squares, &self.largest];
            backend.run(&op, &buffers).await?;
            ends.push(op.offset + op.partials());
        }
        let largest = match ends[ends.len() - 1] {
            0 => Vec::new(), // all masters are elsewhere
            n => backend.download(&self.largest, 0, n).await?,
        };
        let mut exponents = Vec::with_capacity(self.layers.len());
        for (layer, range) in self.layers.iter().zip(ends.windows(2)) {
            let parameter = &parameters[layer.parameter];
            let bits = largest[range[0]..range[1]]
                .iter()
                .copied()
                .max()
                .unwrap_or(0);
            let value = f32::from_bits(bits);
            if !value.is_finite() || value >= 2f32.powi(127) {
                return Err(Error::usage(
                    format!("`{}` has grown to {value}", parameter.name),
                    "lower the learning rate, and resume from a checkpoint",
                ));
            }
            exponents.push(exponent(bits, parameter.len()));
        }
        Ok(exponents)
    }

    async fn baseline(
        &self,
        backend: &B,
        layer: &Codes<B>,
        rows: BaselineShard,
        master: &B::Buffer,
    ) -> Result<()> {
        backend
            .run(&BaselineSum(rows), &[master, &self.sums])
            .await?;
        backend
            .run(&BaselineMean(rows), &[&self.sums, &layer.scales])
            .await?;
        let buffers = [master, &layer.scales, &layer.codes, &self.errors];
        backend.run(&BaselinePack(rows), &buffers).await
    }
}

/// Room for codes and scales of the parameters of these indices.
fn layers<B: Backend>(
    backend: &B,
    recipe: Recipe,
    parameters: &[Parameter],
    indices: &[usize],
) -> Result<Vec<Codes<B>>> {
    let layer = |&parameter: &usize| {
        let [codes, scales, ..] = shape(recipe, &parameters[parameter], 0).words();
        Ok(Codes {
            parameter,
            codes: backend.alloc("codes", codes)?,
            scales: backend.alloc("scales", scales)?,
            first: None,
        })
    };
    indices.iter().map(layer).collect()
}

/// The op that finds a parameter's largest magnitude.
fn norm_of(parameter: &Parameter, first: usize) -> GradNorm {
    GradNorm {
        n: parameter.len(),
        offset: first,
    }
}
