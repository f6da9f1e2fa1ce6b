//! Learned scales: their first values, the codes that belong to them, and their gradients.

use super::Quantizer;
use super::shape::{Shape, shape};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::Packed;
use crate::model::quantize::Fitting;
use crate::ops::calibrate::{PhaseNearest, PhaseProject};
use crate::ops::quantize::WeightShard;
use crate::ops::train::{ScaleExp, ScaleGradient};
use crate::train::step::parameters::Parameter;
use crate::train::step::tensors::Tensors;

/// Rounds of fitting scales to codes and choosing the nearest codes, before the first step.
const ROUNDS: usize = 15;

/// Natural logarithms of scales; those of 0 are as good as minus infinity.
pub(super) fn logarithms(scales: &[f32]) -> Vec<f32> {
    let logarithm = |&s: &f32| f64::from(s.max(f32::MIN_POSITIVE)).ln() as f32;
    scales.iter().map(logarithm).collect()
}

impl<B: Backend> Quantizer<B> {
    /// From now on the first stage is also trained by itself; scales must be learned.
    pub(crate) fn nest(&mut self, backend: &B, parameters: &[Parameter]) -> Result<()> {
        let first = self.first_scales.unwrap_or(parameters.len());
        for (layer, scales) in self.layers.iter_mut().zip(&parameters[first..]) {
            layer.first = Some(backend.alloc("scales of the first stage", scales.len())?);
        }
        self.nested = true;
        Ok(())
    }

    /// From now on the dense weights are those of the first stage, or of all.
    pub(crate) fn read_first(&mut self, first_only: bool) {
        if self.first_only != first_only {
            self.first_only = first_only;
            (self.entered, self.head_entered) = (None, false);
        }
    }

    /// Whether the dense weights are those of the first stage.
    pub(crate) fn reads_first(&self) -> bool {
        self.first_only
    }

    /// The parameters of scales hold what an earlier run has learned.
    pub(crate) fn scales_are_known(&mut self) {
        self.known_scales = true;
    }

    /// The shape of a layer of the phase quantizer.
    fn shard(&self, parameter: &Parameter) -> Result<WeightShard> {
        match shape(self.recipe, parameter, 0) {
            Shape::Phase(shard) => Ok(shard),
            Shape::Baseline(_) => Err(Error::usage(
                format!("scales of `{}`", parameter.name),
                "only the method fairy2i learns its scales",
            )),
        }
    }

    /// Scales that suit the masters best, as the first values of their parameters.
    pub(super) async fn fit_scales(
        &self,
        backend: &B,
        parameters: &[Parameter],
        masters: &[Tensors<B>],
        exponents: &[i32],
    ) -> Result<()> {
        let mut most = 0;
        for layer in &self.layers {
            let shard = self.shard(&parameters[layer.parameter])?;
            most = most.max(Fitting::<B>::words(shard)[1]);
        }
        // Where dense weights are in f16, a buffer for one in f32 is there already.
        let own;
        let unit = match &self.staging {
            Some(staging) => staging,
            None => {
                own = backend.alloc("weight of single scales", most)?;
                &own
            }
        };
        let first = self.first_scales.unwrap_or(parameters.len());
        for (i, (layer, &exponent)) in self.layers.iter().zip(exponents).enumerate() {
            let parameter = &parameters[layer.parameter];
            backend.scope(&|| format!("{}, first scales", parameter.name));
            let target = self.rotated_master(backend, parameter, &masters[layer.parameter]);
            let fitting = Fitting {
                backend,
                shard: self.shard(parameter)?,
                target: target.await?,
                codes: &layer.codes,
                scales: &layer.scales,
                sums: &self.sums,
                unit,
                nested: self.nested,
            };
            fitting.papers(exponent).await?;
            fitting.alternate(ROUNDS).await?;
            let scales = fitting.download_scales().await?;
            let logarithms = logarithms(&scales);
            let words = bytemuck::cast_slice(&logarithms);
            backend.upload(&masters[first + i].value, 0, words)?;
        }
        Ok(())
    }

    /// Scales from their logarithms, from parameter `first` on, and the codes of the sums nearest to the masters.
    pub(super) async fn encode_learned(
        &self,
        backend: &B,
        parameters: &[Parameter],
        masters: &[Tensors<B>],
        first: usize,
    ) -> Result<()> {
        for (i, layer) in self.layers.iter().enumerate() {
            self.exponential(backend, parameters, masters, (i, first + i))
                .await?;
            let parameter = &parameters[layer.parameter];
            let (shard, nested) = (self.shard(parameter)?, self.nested);
            let nearest = PhaseNearest { shard, nested };
            let master = self.rotated_master(backend, parameter, &masters[layer.parameter]);
            let buffers = [master.await?, &layer.scales, &layer.codes];
            backend.run(&nearest, &buffers).await?;
        }
        Ok(())
    }

    /// Makes the scales of layer number `i` from their logarithms, which are parameter number `of`.
    pub(super) async fn exponential(
        &self,
        backend: &B,
        parameters: &[Parameter],
        tensors: &[Tensors<B>],
        (i, of): (usize, usize),
    ) -> Result<()> {
        let layer = &self.layers[i];
        let stages = self.shard(&parameters[layer.parameter])?.stages;
        let exp = |kept| ScaleExp {
            n: parameters[of].len(),
            stages,
            n_active: kept,
        };
        let logarithms = &tensors[of].value;
        let all = [logarithms, &layer.scales];
        backend.run(&exp(stages), &all).await?;
        match &layer.first {
            Some(first) => backend.run(&exp(1), &[logarithms, first]).await,
            None => Ok(()),
        }
    }

    /// Gradients of the logarithms of scales, from those of the weights: `dL/d ln s = s <dL/dRq, dRq/ds>`. Where the first
    /// stage is read, only its scales have one, and the others keep the gradients of the pass with all stages.
    pub(crate) async fn scale_gradients(
        &self,
        backend: &B,
        parameters: &[Parameter],
        tensors: &[Tensors<B>],
    ) -> Result<()> {
        let Some(first) = self.first_scales.filter(|_| self.shared.is_none()) else {
            return Ok(());
        };
        backend.scope(&|| "gradients of scales".to_owned());
        for (i, layer) in self.layers.iter().enumerate() {
            let weight = &tensors[layer.parameter].gradient;
            let buffers = [weight, &tensors[first + i].gradient];
            self.scale_gradient(backend, parameters, i, buffers).await?;
        }
        Ok(())
    }

    /// The gradient of the scales of layer number `i`, from that of its weight.
    pub(super) async fn scale_gradient(
        &self,
        backend: &B,
        parameters: &[Parameter],
        i: usize,
        [weight, to]: [&B::Buffer; 2],
    ) -> Result<()> {
        let layer = &self.layers[i];
        let parameter = &parameters[layer.parameter];
        let shard = self.shard(parameter)?;
        let weight = self.rotated(backend, parameter, weight).await?;
        let along = PhaseProject { shard };
        backend
            .run(&along, &[weight, &layer.codes, &self.sums])
            .await?;
        let op = ScaleGradient {
            rows: shard.rows,
            width: along.sums() / shard.rows,
            block_rows: shard.block_rows(),
            stages: shard.stages,
            n_active: if self.first_only { 1 } else { shard.stages },
        };
        backend.run(&op, &[&self.sums, &layer.scales, to]).await
    }

    /// Codes and scales of layer number `i` of those that are quantized, with its name; none behind the last.
    pub(crate) async fn packed(
        &self,
        backend: &B,
        parameters: &[Parameter],
        i: usize,
    ) -> Result<Option<(String, Packed)>> {
        let Some(layer) = self.layers.get(i) else {
            return Ok(None);
        };
        let parameter = &parameters[layer.parameter];
        let shard = self.shard(parameter)?;
        let codes = backend.download(&layer.codes, 0, shard.codes()).await?;
        let scales = backend.download(&layer.scales, 0, shard.scales()).await?;
        let packed = Packed {
            method: self.recipe.method.of(parameter.layer()),
            form: parameter.form,
            granularity: self.recipe.granularity,
            out_features: parameter.rows,
            in_features: parameter.real_columns(),
            codes,
            scales: bytemuck::cast_vec(scales),
            relative_error: None,
        };
        Ok(Some((parameter.layer().to_owned(), packed)))
    }
}
