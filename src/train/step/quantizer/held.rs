//! Codes that stay while their scales are trained: rounding masters anew would give others, and far worse ones.

use super::shape::{Shape, shape};
use super::{Codes, Quantizer};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::Packed;
use crate::ops::calibrate::Axpy;
use crate::train::step::parameters::{Held, Parameter};
use std::collections::BTreeMap;

/// Where gradients of weights are put that have none of their own: one layer at a time.
pub(in crate::train::step) struct Shared<B: Backend> {
    /// Of a weight.
    weight: B::Buffer,
    /// Of its scales, from one micro-batch.
    scales: B::Buffer,
}

/// Words of [`Shared`].
pub(in crate::train::step) fn shared_words<'a>(
    list: &[Parameter],
    layers: &[usize],
    scales: impl Iterator<Item = &'a Parameter>,
) -> usize {
    let largest = layers.iter().map(|&i| list[i].len()).max();
    let most = scales.map(Parameter::len).max();
    largest.unwrap_or(0) + most.unwrap_or(0)
}

impl<B: Backend> Quantizer<B> {
    /// Gradients of scales are taken as soon as that of their weight is there, which is not kept.
    pub fn share_gradients(&mut self, backend: &B, parameters: &[Parameter]) -> Result<()> {
        let weights = self.layers.iter().map(|l| parameters[l.parameter].len());
        let first = self.first_scales.unwrap_or(parameters.len());
        let scales = parameters[first..].iter().map(Parameter::len);
        self.shared = Some(Shared {
            weight: backend.alloc("gradient", weights.max().unwrap_or(1))?,
            scales: backend.alloc("gradient of scales", scales.max().unwrap_or(1))?,
        });
        Ok(())
    }

    /// Where the gradient of a weight goes that has none of its own, if that is so.
    pub fn shared(&self) -> Option<&B::Buffer> {
        self.shared.as_ref().map(|shared| &shared.weight)
    }

    /// Whether a parameter is quantized.
    pub fn quantizes(&self, parameter: usize) -> bool {
        self.layers.iter().any(|l| l.parameter == parameter)
    }

    /// Whether there are codes that stay.
    pub fn holds(&self) -> bool {
        self.kept
    }

    /// Takes codes and scales, by the names of their layers. The codes stay from now on.
    pub fn hold(
        &mut self,
        backend: &B,
        parameters: &[Parameter],
        held: &[Held<B>],
        packed: &BTreeMap<String, Packed>,
    ) -> Result<()> {
        for (i, layer) in self.layers.iter().enumerate() {
            let parameter = &parameters[layer.parameter];
            let piece = match shape(self.recipe, parameter, 0) {
                Shape::Phase(piece) => piece,
                Shape::Baseline(_) => return Err(unfit(parameter, "are not of fairy2i")),
            };
            let packed = packed.get(parameter.layer());
            let packed = packed.ok_or_else(|| unfit(parameter, "are missing"))?;
            let sizes = (packed.codes.len(), packed.scales.len());
            if sizes != (piece.codes(), piece.scales()) {
                return Err(unfit(parameter, "are of another shape"));
            }
            backend.upload(&layer.codes, 0, &packed.codes)?;
            backend.upload(&layer.scales, 0, bytemuck::cast_slice(&packed.scales))?;
            if let Some(first) = self.first_scales {
                let logarithms = crate::train::step::quantizer::scales::logarithms(&packed.scales);
                let words = bytemuck::cast_slice(&logarithms);
                backend.upload(&held[first + i].value, 0, words)?;
            }
        }
        (self.kept, self.known_scales) = (true, true);
        self.stale();
        Ok(())
    }

    /// Scales from their logarithms, where those are parameters.
    pub(super) async fn scales_of_held(
        &self,
        backend: &B,
        parameters: &[Parameter],
        held: &[Held<B>],
    ) -> Result<()> {
        let Some(first) = self.first_scales else {
            return Ok(());
        };
        for i in 0..self.layers.len() {
            self.exponential(backend, parameters, held, (i, first + i))
                .await?;
        }
        Ok(())
    }

    /// Adds the gradient of a weight's scales from that of the weight, which is in the shared buffer.
    pub async fn add_scale_gradient(
        &self,
        backend: &B,
        parameters: &[Parameter],
        held: &[Held<B>],
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
        let buffers = [&shared.scales, &held[first + i].gradient];
        backend.run(&more, &buffers).await
    }
}

fn unfit(parameter: &Parameter, what: &str) -> Error {
    Error::usage(
        format!("codes of `{}` that {what}", parameter.layer()),
        "give those of the same model and recipe",
    )
}
