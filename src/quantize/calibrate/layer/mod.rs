//! Codes and scales of one layer, for a known Hessian of its inputs.

use super::factor::{Factor, blocks, norms, padded};
use super::moments::{Moments, subtract};
use super::ops::{Area, gather, product};
use crate::backend::{Backend, upload_new};
use crate::error::Result;
use crate::model::quantize::{Fitting, exponent};
use crate::model::{Form, Granularity, Method, Packed};
use crate::ops::calibrate::{Axpy, BLOCK, PhaseFeedback};
use crate::ops::memory::Fill;
use crate::ops::quantize::{PhaseUnpack, WeightShard};
use crate::ops::train::MatrixView;

mod behind;
mod fit;

pub(super) use behind::of_layer;

/// Rounds of fitting scales to codes and choosing the nearest codes, before inputs are looked at.
const ROUNDS: usize = 8;
/// Passes of error feedback and of refitting scales under the Hessian.
const PASSES: usize = 2;

/// How well a layer came out.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerErrors {
    /// `|E X| / |R' X|` over the calibration inputs X, where R' is the target (the weight, corrected for the drift of its
    /// inputs) and E its distance from the quantized weight: first of the papers' codes and scales of R', then after the
    /// best codes for each weight by itself, then after every pass of error feedback.
    pub outputs: Vec<f64>,
    /// `|Rq - R| / |R|` of the result.
    pub weights: f64,
}

/// One layer on its way. Matrices are [2n, 2m], sizes padded to even ones with zeros, in one of two orders: that of the
/// weight, and that of the factor (rows i and i + n together, columns as they are quantized).
pub(super) struct Layer<'a, B: Backend> {
    backend: &'a B,
    factor: &'a Factor<B>,
    shard: WeightShard,
    rows: usize,
    columns: usize,
    /// Real outputs and inputs.
    shape: [usize; 2],
    /// Rows of the weight by those of the factor's order, and the other way around.
    to_weight: B::Buffer,
    from_weight: B::Buffer,
    /// The weight and the target in the order of the weight, and the target in the order of the factor.
    weight: B::Buffer,
    target: B::Buffer,
    ordered: B::Buffer,
    /// E in the order of the factor, as feedback leaves it.
    errors: B::Buffer,
    scratch: [B::Buffer; 2],
    codes: B::Buffer,
    scales: B::Buffer,
    sums: B::Buffer,
}

impl<'a, B: Backend> Layer<'a, B> {
    /// Brings `r` [out, in] to the device and corrects it for the drift of its inputs.
    pub(super) async fn new(
        backend: &'a B,
        factor: &'a Factor<B>,
        moments: &Moments<B>,
        (r, out_features): (&[f32], usize),
        (stages, granularity): (usize, Granularity),
    ) -> Result<Self> {
        let (rows, columns) = (out_features.next_multiple_of(2), factor.columns);
        let half = (rows / 2) as u32;
        let pairs: Vec<u32> = (0..half).flat_map(|i| [i, i + half]).collect();
        let back = |i: u32| if i < half { 2 * i } else { 2 * (i - half) + 1 };
        let from_weight: Vec<u32> = (0..2 * half).map(back).collect();
        let shard = WeightShard::whole(rows, columns, granularity, stages, 0);
        let matrix = |label: &str| backend.alloc(label, rows * columns);
        let [sums, unit] = Fitting::<B>::words(shard);
        let scratch = || backend.alloc("scratch", unit);
        let layer = Self {
            to_weight: upload_new(backend, "rows", &pairs)?,
            from_weight: upload_new(backend, "rows", &from_weight)?,
            weight: matrix("weight")?,
            target: matrix("target")?,
            ordered: matrix("ordered target")?,
            errors: matrix("errors")?,
            scratch: [scratch()?, scratch()?],
            codes: backend.alloc("codes", shard.codes())?,
            scales: backend.alloc("scales", shard.scales())?,
            sums: backend.alloc("sums", sums)?,
            shape: [out_features, moments.columns],
            backend,
            factor,
            shard,
            rows,
            columns,
        };
        layer.correct(moments, r).await?;
        Ok(layer)
    }

    /// `R' = R + (R * (x_f - x_q)^T * x_q + (r_f - r_q)^T * x_q) * H^-1`, where the second term is that of layers which add to the
    /// residual stream.
    async fn correct(&self, moments: &Moments<B>, r: &[f32]) -> Result<()> {
        let (backend, [out, in_features]) = (self.backend, self.shape);
        let len = out * in_features;
        let given = upload_new(backend, "weight", bytemuck::cast_slice(r))?;
        let drift = backend.alloc("drift of outputs", len)?;
        let at = MatrixView::rows(in_features);
        let op = product([out, in_features, in_features], at, at.transposed(), at);
        backend.run(&op, &[&given, &moments.drift, &drift]).await?;
        if let Some((residual, _)) = &moments.residual {
            let more = Axpy {
                n: len,
                factor: 1.0,
            };
            backend.run(&more, &[residual, &drift]).await?;
        }
        let [b, y] = &self.scratch;
        self.pad(&drift, y).await?;
        self.in_order(y, b).await?;
        self.factor.solve(backend, self.rows, b, y).await?;
        self.pad(&given, &self.weight).await?;
        self.in_order(&self.weight, &self.ordered).await?;
        let more = Axpy {
            n: self.rows * self.columns,
            factor: 1.0,
        };
        backend.run(&more, &[b, &self.ordered]).await?;
        self.natural(&self.ordered, &self.target).await
    }

    /// An [out, in] matrix padded to even sizes.
    async fn pad(&self, from: &B::Buffer, to: &B::Buffer) -> Result<()> {
        let [out, in_features] = self.shape;
        let rows = upload_new(self.backend, "rows", &padded(out))?;
        let all = Area::rows(self.rows, self.columns);
        let from = (from, out * in_features, in_features);
        let columns = (&self.factor.padded, 0);
        gather(self.backend, from, (&rows, 0), columns, (to, all), 0.0).await
    }

    /// A matrix in the order of the factor, brought into that of the weight.
    async fn natural(&self, from: &B::Buffer, to: &B::Buffer) -> Result<()> {
        let all = Area::rows(self.rows, self.columns);
        let from = (from, self.rows * self.columns, self.columns);
        let (rows, columns) = ((&self.from_weight, 0), (&self.factor.from_weight, 0));
        gather(self.backend, from, rows, columns, (to, all), 0.0).await
    }

    /// A matrix in the order of the weight, brought into that of the factor.
    async fn in_order(&self, from: &B::Buffer, to: &B::Buffer) -> Result<()> {
        let all = Area::rows(self.rows, self.columns);
        let from = (from, self.rows * self.columns, self.columns);
        let (rows, columns) = ((&self.to_weight, 0), (&self.factor.to_weight, 0));
        gather(self.backend, from, rows, columns, (to, all), 0.0).await
    }

    /// Codes and scales: recipe A.
    pub(super) async fn quantize(&self) -> Result<(Packed, LayerErrors)> {
        let powers = self.powers().await?;
        self.choose(powers).await
    }

    /// `tr(R' H R'^T)` and the norm of the weight, which errors are relative to.
    pub(super) async fn powers(&self) -> Result<[f64; 2]> {
        let (norm, _) = norms(self.backend, &self.weight, self.rows * self.columns).await?;
        Ok([self.energy(&self.ordered).await?, norm])
    }

    /// Codes and scales of the target, and their errors relative to these powers.
    pub(super) async fn choose(&self, powers: [f64; 2]) -> Result<(Packed, LayerErrors)> {
        let relative = |error: f64| relative(error, powers[0]);
        self.papers().await?;
        let mut outputs = vec![relative(self.residual_error().await?)];
        self.fitting().alternate(ROUNDS).await?;
        outputs.push(relative(self.residual_error().await?));
        for _ in 0..PASSES {
            self.feedback().await?;
            self.refit().await?;
            outputs.push(relative(self.residual_error().await?));
        }
        let weights = self.weight_error(powers[1]).await?;
        Ok((self.packed().await?, LayerErrors { outputs, weights }))
    }

    /// Codes and scales of one pass of error feedback, and `tr(E H E^T)` of what they leave: less work than
    /// [`Layer::quantize`], and nearly as good.
    pub(super) async fn weigh(&self) -> Result<(Packed, f64)> {
        self.papers().await?;
        self.fitting().alternate(ROUNDS / 2).await?;
        self.feedback().await?;
        self.refit().await?;
        let error = self.residual_error().await?;
        Ok((self.packed().await?, error))
    }

    /// `tr(E H E^T)` of a matrix in the order of the factor.
    async fn energy(&self, e: &B::Buffer) -> Result<f64> {
        let scratch = &self.scratch[1];
        self.factor.error(self.backend, self.rows, e, scratch).await
    }

    /// Rq, in the order of the weight.
    async fn quantized(&self, to: &B::Buffer) -> Result<()> {
        let op = PhaseUnpack { shard: self.shard };
        self.backend
            .run(&op, &[&self.codes, &self.scales, to])
            .await
    }

    /// `R' - Rq` in the order of the weight, into the first scratch buffer; the second is overwritten.
    async fn residual(&self, target: &B::Buffer) -> Result<()> {
        let [e, quantized] = &self.scratch;
        self.quantized(quantized).await?;
        let n = self.rows * self.columns;
        subtract(self.backend, n, (target, quantized), e).await
    }

    /// `tr(E H E^T)` of codes and scales as they are.
    async fn residual_error(&self) -> Result<f64> {
        self.residual(&self.target).await?;
        self.in_order(&self.scratch[0], &self.errors).await?;
        self.energy(&self.errors).await
    }

    async fn weight_error(&self, power: f64) -> Result<f64> {
        self.residual(&self.weight).await?;
        let n = self.rows * self.columns;
        let (error, _) = norms(self.backend, &self.scratch[0], n).await?;
        Ok(relative(error, power))
    }

    /// The target, its codes and its scales, to be fitted to each other; the first scratch buffer is overwritten.
    fn fitting(&self) -> Fitting<'_, B> {
        Fitting {
            backend: self.backend,
            shard: self.shard,
            target: &self.target,
            codes: &self.codes,
            scales: &self.scales,
            sums: &self.sums,
            unit: &self.scratch[0],
            nested: false,
        }
    }

    /// Codes and scales as the papers quantize the target.
    async fn papers(&self) -> Result<()> {
        let n = self.rows * self.columns;
        let (_, largest) = norms(self.backend, &self.target, n).await?;
        self.fitting().papers(exponent(largest.to_bits(), n)).await
    }

    /// Codes by error feedback; the errors stay in the order of the factor.
    async fn feedback(&self) -> Result<()> {
        let (backend, factor) = (self.backend, self.factor);
        let pending = backend.alloc("pending errors", self.rows * BLOCK)?;
        for (first, size) in blocks(self.columns).rev() {
            let to = (&pending, MatrixView::rows(BLOCK), false);
            factor
                .behind(backend, self.rows, (first, size), &self.errors, to)
                .await?;
            if first + size == self.columns {
                let words = self.rows * BLOCK;
                backend.run(&Fill { words, value: 0 }, &[&pending]).await?;
            }
            let op = PhaseFeedback {
                shard: self.shard,
                first: first / 2,
                count: size / 2,
            };
            let buffers = [
                &self.ordered,
                &factor.lower,
                &pending,
                &self.scales,
                &factor.order,
                &self.codes,
                &self.errors,
            ];
            backend.run(&op, &buffers).await?;
        }
        Ok(())
    }

    async fn packed(&self) -> Result<Packed> {
        let shard = &self.shard;
        let codes = self.backend.download(&self.codes, 0, shard.codes()).await?;
        Ok(Packed {
            method: Method::Phase {
                stages: shard.stages,
            },
            form: Form::WidelyLinear,
            granularity: shard.granularity,
            out_features: self.shape[0],
            in_features: self.shape[1],
            codes,
            scales: self.fitting().download_scales().await?,
            relative_error: None,
        })
    }
}

/// The root of a squared error over the error of a quantized weight of zero; 0 where that is 0 too.
fn relative(error: f64, power: f64) -> f64 {
    match power > 0.0 {
        true => (error / power).sqrt(),
        false => 0.0,
    }
}
