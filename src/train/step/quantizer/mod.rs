//! Weights as the forward pass sees them: quantized from the masters each step, unpacked when they are used.

use super::formats::Format;
use super::parameters::{EMBED, Held, Kind, Parameter, head, of_block, place};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::quantize::{encode, exponent};
use crate::model::{Config, Recipe};
use crate::ops::memory::CastF16;
use crate::ops::quantize::PhaseUnpack;
use crate::ops::quantize::{BaselineMean, BaselinePack, BaselineSum, BaselineUnpack, Rows};
use crate::ops::train::lerp::Lerp;
use crate::ops::train::optimizer::GradNorm;

mod held;
mod masters;
mod scales;
mod shape;

pub(super) use held::shared_words;
use masters::turning;
use shape::{Listed, Shape, made_dense, shape, wide_words};
pub(super) use shape::{quantized, scales, words};

/// Codes and scales of one linear layer.
struct Codes<B: Backend> {
    parameter: usize,
    codes: B::Buffer,
    scales: B::Buffer,
    /// The same with zeros behind the first stage, where that is trained by itself, too.
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
    /// Codes are chosen stage by stage, and the first stage is read by itself, too.
    nested: bool,
    /// The dense weights are those of the first stage.
    first_only: bool,
    /// Whether the codes are ones that were given, and stay.
    kept: bool,
    shared: Option<held::Shared<B>>,
    /// By place in a block, where that is quantized.
    block: Vec<Option<B::Buffer>>,
    head: Option<B::Buffer>,
    /// The block whose weights `block` holds.
    held: Option<usize>,
    head_held: bool,
    /// Whether the codes are those of the current masters.
    fresh: bool,
    /// Of the quantized weight in what the forward pass sees; the rest is the master's.
    share: f64,
    sums: B::Buffer,
    errors: B::Buffer,
    /// The dense weights are in f16.
    half: bool,
    /// Where they are unpacked first.
    staging: Option<B::Buffer>,
    /// Where a master of fewer bits is unpacked.
    unpacked: Option<B::Buffer>,
    /// A weight or its gradient as its layer has it, where layers have turned inputs.
    turned: Option<B::Buffer>,
    squares: B::Buffer,
    largest: B::Buffer,
    config: Config,
}

impl<B: Backend> Quantizer<B> {
    pub fn new(
        backend: &B,
        recipe: Recipe,
        config: &Config,
        listed: Listed<'_>,
        half: bool,
    ) -> Result<Self> {
        let parameters = listed.0;
        let indices = quantized(recipe, config, parameters);
        let (mut layers, mut shared, mut shares) = (Vec::new(), [1, 1], 1);
        for &parameter in &indices {
            let held = &parameters[parameter];
            let [codes, scales, sums, errors] = shape(recipe, held, 0).words();
            shared = [shared[0].max(sums), shared[1].max(errors)];
            shares += norm_of(held, 0).shares();
            layers.push(Codes {
                parameter,
                codes: backend.alloc("codes", codes)?,
                scales: backend.alloc("scales", scales)?,
                first: None,
            });
        }
        let made = made_dense(recipe, config, listed, half);
        let dense = |parameter: usize| {
            let words = || parameters[parameter].len() / if half { 2 } else { 1 };
            let alloc = || backend.alloc("dense weight", words());
            made.contains(&parameter).then(alloc).transpose()
        };
        let largest = indices.iter().map(|&i| parameters[i].len()).max();
        let staging = largest.filter(|_| half).unwrap_or(0);
        let turned = largest.filter(|_| recipe.rotated).unwrap_or(0);
        let some = |label: &str, words: usize| {
            let alloc = || backend.alloc(label, words);
            (words > 0).then(alloc).transpose()
        };
        let places = 0..=place::DOWN;
        let block = places.filter(|_| config.layers > 0);
        let block = block.map(|p| dense(of_block(0, p)));
        Ok(Self {
            recipe,
            first_scales: parameters.iter().position(|p| p.kind == Kind::Scales),
            known_scales: false,
            nested: false,
            first_only: false,
            kept: false,
            shared: None,
            block: block.collect::<Result<_>>()?,
            head: dense(head(config))?,
            held: None,
            head_held: false,
            fresh: false,
            share: 1.0,
            sums: backend.alloc("sums", shared[0])?,
            errors: backend.alloc("errors", shared[1])?,
            staging: some("weight", staging)?,
            unpacked: some("master", wide_words(&indices, listed))?,
            turned: some("turned weight", turned)?,
            squares: backend.alloc("squares", shares)?,
            largest: backend.alloc("largest", shares)?,
            layers,
            half,
            config: config.clone(),
        })
    }

    /// The masters have changed.
    pub fn stale(&mut self) {
        (self.fresh, self.held, self.head_held) = (false, None, false);
    }

    /// Weights are so much quantized and for the rest as they are.
    pub fn set_share(&mut self, share: f64) {
        if self.share != share {
            self.share = share;
            (self.held, self.head_held) = (None, false);
        }
    }

    /// Scales and codes of all layers from the masters, unless they are there.
    ///
    /// # Errors
    /// [`Error::NonFinite`] when a master is NaN, infinite or 2^127 and more.
    pub async fn refresh(
        &mut self,
        backend: &B,
        parameters: &[Parameter],
        masters: &[Held<B>],
    ) -> Result<()> {
        if self.fresh {
            return Ok(());
        }
        backend.scope(&|| "quantizing".to_owned());
        if self.kept {
            self.scales_of_held(backend, parameters, masters).await?;
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

    /// Scales and codes as the papers choose them.
    async fn encode_by_means(
        &self,
        backend: &B,
        parameters: &[Parameter],
        masters: &[Held<B>],
        exponents: &[i32],
    ) -> Result<()> {
        for (layer, &exponent) in self.layers.iter().zip(exponents) {
            let parameter = &parameters[layer.parameter];
            let master = self.turned_master(backend, parameter, &masters[layer.parameter]);
            let master = master.await?;
            match shape(self.recipe, parameter, exponent) {
                Shape::Phase(piece) => {
                    let (scales, codes) = (&layer.scales, &layer.codes);
                    let buffers = [master, scales, &self.sums, codes, &self.errors];
                    encode(backend, piece, buffers).await?;
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
        masters: &[Held<B>],
    ) -> Result<Vec<i32>> {
        // scales that are known already need only the check that all masters are numbers, turned or not
        let used = self.first_scales.is_none() || !self.known_scales;
        let mut ends = vec![0];
        for layer in &self.layers {
            let parameter = &parameters[layer.parameter];
            let op = norm_of(parameter, ends[ends.len() - 1]);
            let held = &masters[layer.parameter];
            let master = match used {
                true => self.turned_master(backend, parameter, held).await?,
                false => self.master(backend, parameter, held).await?,
            };
            let buffers = [master, &self.squares, &self.largest];
            backend.run(&op, &buffers).await?;
            ends.push(op.first + op.shares());
        }
        let largest = backend
            .download(&self.largest, 0, ends[ends.len() - 1])
            .await?;
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
        rows: Rows,
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

    /// Makes the dense weights of block `l` ready.
    pub async fn enter(
        &mut self,
        backend: &B,
        parameters: &[Parameter],
        masters: &[Held<B>],
        l: usize,
    ) -> Result<()> {
        if self.held == Some(l) {
            return Ok(());
        }
        for (place, dense) in self.block.iter().enumerate() {
            if let Some(dense) = dense {
                let i = of_block(l, place);
                self.unpack(backend, &parameters[i], &masters[i], i, dense)
                    .await?;
            }
        }
        self.held = Some(l);
        Ok(())
    }

    /// Makes the dense weight of the head ready.
    pub async fn enter_head(
        &mut self,
        backend: &B,
        parameters: &[Parameter],
        masters: &[Held<B>],
    ) -> Result<()> {
        if let (Some(dense), false) = (&self.head, self.head_held) {
            let i = head(&self.config);
            self.unpack(backend, &parameters[i], &masters[i], i, dense)
                .await?;
        }
        self.head_held = true;
        Ok(())
    }

    async fn unpack(
        &self,
        backend: &B,
        parameter: &Parameter,
        held: &Held<B>,
        index: usize,
        dense: &B::Buffer,
    ) -> Result<()> {
        backend.scope(&|| format!("{}, unpacking", parameter.name));
        let layer = self.layers.iter().find(|l| l.parameter == index);
        let wide = self.staging.as_ref().unwrap_or(dense);
        if let Some(layer) = layer {
            let first = layer.first.as_ref().filter(|_| self.first_only);
            let quantized = self.turned.as_ref().unwrap_or(wide);
            let buffers = [&layer.codes, first.unwrap_or(&layer.scales), quantized];
            match shape(self.recipe, parameter, 0) {
                Shape::Phase(piece) => backend.run(&PhaseUnpack { piece }, &buffers).await?,
                Shape::Baseline(rows) => backend.run(&BaselineUnpack(rows), &buffers).await?,
            }
            if self.turned.is_some() {
                let turn = turning(parameter, true);
                backend.run(&turn, &[quantized, wide]).await?;
            }
            if self.share < 1.0 {
                let (n, share) = (parameter.len(), self.share as f32);
                let master = self.master(backend, parameter, held).await?;
                backend.run(&Lerp { n, share }, &[master, wide]).await?;
            }
        }
        if !self.half {
            return Ok(());
        }
        let cast_f16 = CastF16 {
            rows: parameter.rows,
            columns: parameter.columns,
            stride: parameter.columns,
            first: 0,
        };
        // only what is quantized has a master of fewer bits
        let from = if layer.is_some() { wide } else { &held.value };
        backend.run(&cast_f16, &[from, dense]).await
    }

    /// The weight of a linear layer of the block (or of the head) that was entered last, and whether it is in f16: made
    /// dense, or the master itself.
    pub fn weight<'a>(&'a self, masters: &'a [Held<B>], parameter: usize) -> (&'a B::Buffer, bool) {
        let dense = if parameter == EMBED || parameter >= of_block(self.config.layers, 0) {
            self.head.as_ref()
        } else {
            let place = (parameter - of_block(0, 0)) % (place::DOWN + 1);
            self.block[place].as_ref()
        };
        let held = &masters[parameter];
        let ready = (&held.value, held.formats.value == Format::F16);
        dense.map_or(ready, |dense| (dense, self.half))
    }
}

/// The op that finds a parameter's largest magnitude.
fn norm_of(parameter: &Parameter, first: usize) -> GradNorm {
    GradNorm {
        n: parameter.len(),
        first,
    }
}
