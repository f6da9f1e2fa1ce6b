//! Codes that stay while their scales are trained: rounding masters anew would give others, and far worse ones.

use super::shape::{Shape, shape};
use super::{Codes, Quantizer};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::Packed;
use crate::ops::calibrate::Axpy;
use crate::train::step::parameters::Parameter;
use crate::train::step::tensors::Tensors;
use std::collections::BTreeMap;

/// Buffers for the gradient of one layer at a time, where weights have no gradients of their own.
pub(super) struct Shared<B: Backend> {
    /// The gradient of a weight.
    weight: B::Buffer,
    /// The gradient of its scales from one micro-batch.
    scales: B::Buffer,
}

/// Words of [`Shared`].
pub(crate) fn shared_words<'a>(
    list: &[Parameter],
    layers: &[usize],
    scales: impl Iterator<Item = &'a Parameter>,
) -> usize {
    let largest = layers.iter().map(|&i| list[i].len()).max();
    let most = scales.map(Parameter::len).max();
    largest.unwrap_or(0) + most.unwrap_or(0)
}

impl<B: Backend> Quantizer<B> {
    /// From now on the gradient of a weight becomes that of its scales at once, and is not kept.
    pub(crate) fn share_gradients(&mut self, backend: &B, parameters: &[Parameter]) -> Result<()> {
        let weights = self.layers.iter().map(|l| parameters[l.parameter].len());
        let first = self.first_scales.unwrap_or(parameters.len());
        let scales = parameters[first..].iter().map(Parameter::len);
        self.shared = Some(Shared {
            weight: backend.alloc("gradient", weights.max().unwrap_or(1))?,
            scales: backend.alloc("gradient of scales", scales.max().unwrap_or(1))?,
        });
        Ok(())
    }

    /// The buffer for the gradient of a weight, where weights have none of their own.
    pub(crate) fn shared(&self) -> Option<&B::Buffer> {
        self.shared.as_ref().map(|shared| &shared.weight)
    }

    /// Whether a parameter is quantized.
    pub(crate) fn quantizes(&self, parameter: usize) -> bool {
        self.layers.iter().any(|l| l.parameter == parameter)
    }

    /// Whether codes stay.
    pub(crate) fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// Takes codes and scales, by the names of their layers. The codes stay from now on.
    pub(crate) fn hold(
        &mut self,
        backend: &B,
        parameters: &[Parameter],
        tensors: &[Tensors<B>],
        packed: &BTreeMap<String, Packed>,
    ) -> Result<()> {
        for (i, layer) in self.layers.iter().enumerate() {
            let parameter = &parameters[layer.parameter];
            let shard = match shape(self.recipe, parameter, 0) {
                Shape::Phase(shard) => shard,
                Shape::Baseline(_) => return Err(unfit(parameter, "are not of fairy2i")),
            };
            let packed = packed.get(parameter.layer());
            let packed = packed.ok_or_else(|| unfit(parameter, "are missing"))?;
            let sizes = (packed.codes.len(), packed.scales.len());
            if sizes != (shard.codes(), shard.scales()) {
                return Err(unfit(parameter, "are of another shape"));
            }
            backend.upload(&layer.codes, 0, &packed.codes)?;
            backend.upload(&layer.scales, 0, bytemuck::cast_slice(&packed.scales))?;
            if let Some(first) = self.first_scales {
                let logarithms = super::scales::logarithms(&packed.scales);
                let words = bytemuck::cast_slice(&logarithms);
                backend.upload(&tensors[first + i].value, 0, words)?;
            }
        }
        (self.fixed, self.known_scales) = (true, true);
        self.stale();
        Ok(())
    }

    /// Scales from their logarithms, where those are parameters.
    pub(super) async fn scales_of_fixed(
        &self,
        backend: &B,
        parameters: &[Parameter],
        tensors: &[Tensors<B>],
    ) -> Result<()> {
        let Some(first) = self.first_scales else {
            return Ok(());
        };
        for i in 0..self.layers.len() {
            self.exponential(backend, parameters, tensors, (i, first + i))
                .await?;
        }
        Ok(())
    }

    /// Adds the gradient of a weight's scales from that of the weight, which is in the shared buffer.
    pub(crate) async fn add_scale_gradient(
        &self,
        backend: &B,
        parameters: &[Parameter],
        tensors: &[Tensors<B>],
        parameter: usize,
    ) -> Result<()> {
        let of = |l: &Codes<B>| l.parameter == parameter;
        let place = self.layers.iter().position(of);
        let (Some(shared), Some(i), Some(first)) = (&self.shared, place, self.first_scales) else {
            return Ok(());
        };
        let buffers = [&shared.weight, &shared.scales];
        self.scale_gradient(backend, parameters, i, buffers).await?;
        let more = Axpy {
            n: parameters[first + i].len(),
            factor: 1.0,
        };
        let buffers = [&shared.scales, &tensors[first + i].gradient];
        backend.run(&more, &buffers).await
    }
}

fn unfit(parameter: &Parameter, what: &str) -> Error {
    Error::usage(
        format!("codes of `{}` that {what}", parameter.layer()),
        "give those of the same model and recipe",
    )
}
