//! Stages of a layer whose first stages are there already.

use super::{Layer, LayerErrors, relative};
use crate::backend::{Backend, upload_new};
use crate::error::{Error, Result};
use crate::model::Packed;
use crate::model::config::LinearShape;
use crate::ops::calibrate::Axpy;
use crate::ops::quantize::{PhaseUnpack, WeightShard};
use std::collections::BTreeMap;

/// What `all` have of `layer`.
///
/// # Errors
/// [`Error::Usage`] where they have nothing of it.
pub(crate) fn of_layer<'a>(
    all: &'a BTreeMap<String, Packed>,
    layer: &LinearShape,
) -> Result<&'a Packed> {
    all.get(&layer.prefix).ok_or_else(|| {
        Error::usage(
            format!("the first stages of {} are missing", layer.prefix),
            "give those of all layers",
        )
    })
}

impl<B: Backend> Layer<'_, B> {
    /// Codes and scales of the stages behind `first`, whose own are kept: what is left of weight and target is quantized as
    /// if it were the layer. Errors are relative to the layer.
    pub(crate) async fn quantize_behind(&self, first: &Packed) -> Result<(Packed, LayerErrors)> {
        let powers = self.powers().await?;
        let backend = self.backend;
        let shard = WeightShard {
            stages: first.stages(),
            ..self.shard
        };
        let codes = upload_new(backend, "first codes", &first.codes)?;
        let scales = bytemuck::cast_slice(&first.scales);
        let scales = upload_new(backend, "first scales", scales)?;
        let known = &self.scratch[1];
        let op = PhaseUnpack { shard };
        backend.run(&op, &[&codes, &scales, known]).await?;
        let less = Axpy {
            n: self.rows * self.columns,
            factor: -1.0,
        };
        for matrix in [&self.weight, &self.target] {
            backend.run(&less, &[known, matrix]).await?;
        }
        self.in_order(&self.target, &self.ordered).await?;
        let (rest, errors) = self.choose(powers).await?;
        Ok((rest.behind(first), errors))
    }

    /// The errors of a layer that is there already.
    pub(crate) async fn measure(&self, made: &Packed) -> Result<LayerErrors> {
        let powers = self.powers().await?;
        self.backend.upload(&self.codes, 0, &made.codes)?;
        self.fitting().upload_scales(&made.scales)?;
        Ok(LayerErrors {
            outputs: vec![relative(self.residual_error().await?, powers[0])],
            weights: self.weight_error(powers[1]).await?,
        })
    }
}
