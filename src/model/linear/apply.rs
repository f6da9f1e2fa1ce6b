//! Running a layer: which ops, in which order, for how many tokens on which device.

use super::{Linear, LinearScratch, Phase, Shard, Weight};
use crate::backend::{Backend, Tuning, kernel_for};
use crate::error::Result;
use crate::ops::MatrixDtype;
use crate::ops::matmul::{Dense, MatmulGemm, MatmulGemv};
use crate::ops::norm::{Rms, RmsNorm, RmsNormQuantize, roundable};
use crate::ops::phase::{
    Outcome, PhaseGemm, PhaseGemmBits, PhaseGemmFloat, PhaseGemv, PhaseGemvFloat, PhaseGemvFused,
    PhaseShape,
};
use crate::ops::quantize::Hadamard;
use crate::ops::quantize::{Activations, FakeQuant, QuantizeAct};

/// What a layer reads: tokens of f32, which are normalized first if a norm is given.
pub(crate) struct Input<'a, B: Backend> {
    /// The values, [tokens, in_features].
    pub x: &'a B::Buffer,
    /// The weight of an RMS norm, and what it divides by.
    pub norm: Option<(&'a B::Buffer, Rms)>,
    /// How many partial maxima of each token's magnitudes the layer before has left in the scratch buffers: the largest of
    /// them is what the token is rounded by. 0 where there are none, and the layer must look for itself.
    pub n_absmax_partials: usize,
}

/// How one application of a layer goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// How many tokens there are.
    pub tokens: usize,
    /// Whether the result is added to the output.
    pub accumulate: bool,
    /// How activations enter.
    pub activations: Activations,
    /// Whether sums are of integers for any number of tokens.
    pub exact: bool,
    /// The numbers of the device, or those that are tried there.
    pub tuning: Tuning,
}

impl<B: Backend> Linear<B> {
    /// `y = weight * x`, or `y += weight * x`: `x` is [tokens, in_features], `y` [tokens, outputs], both f32.
    pub(crate) async fn apply(
        &self,
        backend: &B,
        scratch: &LinearScratch<B>,
        input: Input<'_, B>,
        y: &B::Buffer,
        run: Run,
    ) -> Result<()> {
        backend.scope(&|| self.name.clone());
        let run = self.begin(backend, y, run).await?;
        let input = self.rotate(backend, scratch, input, run.tokens).await?;
        self.apply_rotated(backend, scratch, input, y, run).await
    }

    /// [`Linear::apply`] to inputs that are rotated already, where the layer wants that.
    pub(super) async fn apply_rotated(
        &self,
        backend: &B,
        scratch: &LinearScratch<B>,
        input: Input<'_, B>,
        y: &B::Buffer,
        run: Run,
    ) -> Result<()> {
        if self.many(backend, scratch, run) {
            return self.apply_coop(backend, scratch, input, y, run).await;
        }
        let at_once = self.apply_at_once(backend, scratch, &input, y, run, Outcome::Plain);
        if at_once.await?.is_some() {
            return Ok(());
        }
        if let Weight::Phase(phase) = &self.weight
            && run.activations != Activations::Float
        {
            self.round(backend, scratch, input, run).await?;
            return self.apply_integer(backend, scratch, phase, y, run).await;
        }
        let x = self.normalize(backend, scratch, input, run.tokens).await?;
        match &self.weight {
            Weight::Dense { dtype, shards } => {
                let x = self.fake_quant(backend, scratch, x, run).await?;
                self.apply_dense(backend, x, y, run, (*dtype, shards)).await
            }
            Weight::Phase(phase) => self.apply_float(backend, phase, x, y, run).await,
        }
    }

    /// The input rotated as the weights are, or as it is where they are not.
    pub(super) async fn rotate<'a>(
        &self,
        backend: &B,
        scratch: &'a LinearScratch<B>,
        input: Input<'a, B>,
        rows: usize,
    ) -> Result<Input<'a, B>> {
        match &self.weight {
            Weight::Phase(phase) if phase.rotated => {}
            _ => return Ok(input),
        }
        let x = self.normalize(backend, scratch, input, rows).await?;
        let rotation = Hadamard {
            rows,
            width: self.in_features,
            inverse: false,
        };
        backend.run(&rotation, &[x, &scratch.prepared]).await?;
        Ok(Input {
            x: &scratch.prepared,
            norm: None,
            n_absmax_partials: 0,
        })
    }

    /// Runs a product that rounds its tokens itself, and returns how many partial maxima of each token it leaves; `None` if
    /// this layer, device or number of tokens does not suit such a product.
    pub(super) async fn apply_at_once(
        &self,
        backend: &B,
        scratch: &LinearScratch<B>,
        input: &Input<'_, B>,
        y: &B::Buffer,
        run: Run,
        outcome: Outcome,
    ) -> Result<Option<usize>> {
        let Weight::Phase(phase) = &self.weight else {
            return Ok(None);
        };
        let tuning = &run.tuning;
        // Every workgroup rounds the token for itself, which does not pay on devices with few and narrow processors.
        let wide = backend.facts().subgroup_size >= tuning.fused_subgroup;
        let kernel = kernel_for::<PhaseGemvFused>(backend.facts().features);
        let few = run.tokens <= tuning.integer_gemv_tokens;
        let few = few && run.activations != Activations::Float;
        if !wide || kernel.is_none() || !few || self.by_bits(backend, run) {
            return Ok(None);
        }
        let product = |shard| PhaseGemvFused {
            shape: self.shape(phase, run, shard),
            mode: run.activations,
            norm: input.norm.map(|(_, rms)| rms),
            outcome,
            n_absmax_partials: input.n_absmax_partials,
            processors: tuning.fused_groups,
        };
        let products: Vec<_> = phase.shards.iter().map(product).collect();
        let memory = backend.facts().workgroup_bytes;
        if !products
            .iter()
            .all(|product| product.sensible() && product.fits(memory))
        {
            return Ok(None);
        }
        let weight = input.norm.map_or(input.x, |(w, _)| w);
        for (shard, product) in phase.shards.iter().zip(&products) {
            let partials = &scratch.absmax_partials;
            let buffers = [
                &shard.buffer,
                input.x,
                weight,
                &phase.scale_blocks,
                y,
                partials,
            ];
            backend.run(product, &buffers).await?;
        }
        let left = products.first().filter(|p| p.outcome != Outcome::Plain);
        Ok(Some(left.map_or(0, PhaseGemvFused::absmax_partials)))
    }

    /// Whether cooperative matrices make the exact sums of these tokens.
    pub(super) fn by_bits(&self, backend: &B, run: Run) -> bool {
        self.has_bits(backend, run)
            && run.tokens >= run.tuning.bits_tokens[run.activations.byte_planes() - 1]
    }

    /// Whether cooperative matrices could make the exact sums of tokens of such runs.
    pub(super) fn has_bits(&self, backend: &B, run: Run) -> bool {
        let Weight::Phase(phase) = &self.weight else {
            return false;
        };
        run.activations != Activations::Float
            && kernel_for::<PhaseGemmBits>(backend.facts().features).is_some()
            // All shards give the same answer.
            && phase.shards.first().is_some_and(|shard| PhaseGemmBits::fits(&self.shape(phase, run, shard)))
    }

    /// Rounds the tokens into the scratch buffers.
    async fn round(
        &self,
        backend: &B,
        scratch: &LinearScratch<B>,
        input: Input<'_, B>,
        run: Run,
    ) -> Result<()> {
        let (rows, columns, mode) = (run.tokens, self.in_features, run.activations);
        let (q, absmax) = (&scratch.rounded, &scratch.absmax);
        let form = self.form();
        if let Some((weight, rms)) = input.norm.filter(|_| roundable(columns)) {
            let round = RmsNormQuantize {
                tokens: rows,
                columns,
                rms,
                form,
                mode,
            };
            return backend.run(&round, &[input.x, weight, q, absmax]).await;
        }
        let x = self.normalize(backend, scratch, input, rows).await?;
        let round = QuantizeAct {
            tokens: rows,
            columns,
            form,
            mode,
        };
        backend.run(&round, &[x, q, absmax]).await
    }

    pub(super) async fn normalize<'a>(
        &self,
        backend: &B,
        scratch: &'a LinearScratch<B>,
        input: Input<'a, B>,
        rows: usize,
    ) -> Result<&'a B::Buffer> {
        let Some((weight, rms)) = input.norm else {
            return Ok(input.x);
        };
        let n = self.in_features;
        let buffers = [input.x, weight, &scratch.normalized];
        backend
            .run(
                &RmsNorm {
                    tokens: rows,
                    n,
                    rms,
                    accumulate: false,
                },
                &buffers,
            )
            .await?;
        Ok(&scratch.normalized)
    }

    /// Puts the inputs of a dense layer on the grid that rounding would put them on.
    pub(super) async fn fake_quant<'a>(
        &self,
        backend: &B,
        scratch: &'a LinearScratch<B>,
        x: &'a B::Buffer,
        run: Run,
    ) -> Result<&'a B::Buffer> {
        if run.activations == Activations::Float || self.unrounded {
            return Ok(x);
        }
        // The halves of a token are rounded apart where the layers would do so that are quantized.
        let scales = self.form().token_scales();
        let fake_quant = FakeQuant {
            tokens: run.tokens * scales,
            columns: self.in_features / scales,
            mode: run.activations,
        };
        backend.run(&fake_quant, &[x, &scratch.prepared]).await?;
        Ok(&scratch.prepared)
    }

    async fn apply_dense(
        &self,
        backend: &B,
        x: &B::Buffer,
        y: &B::Buffer,
        run: Run,
        (dtype, shards): (MatrixDtype, &[Shard<B>]),
    ) -> Result<()> {
        for shard in shards {
            let matmul = self.product(run, dtype, shard);
            let buffers = [x, &shard.buffer, y];
            if run.tokens <= run.tuning.gemv_tokens {
                backend.run(&MatmulGemv(matmul), &buffers).await?;
            } else {
                backend.run(&MatmulGemm(matmul), &buffers).await?;
            }
        }
        Ok(())
    }

    pub(super) fn product(&self, run: Run, dtype: MatrixDtype, shard: &Shard<B>) -> Dense {
        Dense {
            tokens: run.tokens,
            k: self.in_features,
            outs: shard.rows,
            out_offset: shard.first,
            y_stride: self.outputs(),
            dtype,
            accumulate: run.accumulate,
        }
    }

    pub(super) fn shape(&self, phase: &Phase<B>, run: Run, shard: &Shard<B>) -> PhaseShape {
        PhaseShape {
            segments: self.segments.clone(),
            in_features: self.in_features,
            stages: phase.stages,
            form: self.form,
            half_run: self.half_run,
            per_row: phase.per_row,
            group_words: phase.group_words,
            first_row: shard.first,
            shard_rows: shard.rows,
            layout: phase.layout,
            accumulate: run.accumulate,
            tokens: run.tokens,
        }
    }

    async fn apply_integer(
        &self,
        backend: &B,
        scratch: &LinearScratch<B>,
        phase: &Phase<B>,
        y: &B::Buffer,
        run: Run,
    ) -> Result<()> {
        let (mode, scale_blocks) = (run.activations, &phase.scale_blocks);
        let bits = self.by_bits(backend, run);
        let tuning = &run.tuning;
        for shard in &phase.shards {
            let shape = self.shape(phase, run, shard);
            let buffers = [
                &shard.buffer,
                &scratch.rounded,
                &scratch.absmax,
                scale_blocks,
                y,
            ];
            if bits {
                let product = PhaseGemmBits {
                    shape,
                    mode,
                    processors: tuning.processors,
                };
                backend.run(&product, &buffers).await?;
            } else if run.tokens <= tuning.integer_gemv_tokens {
                backend.run(&PhaseGemv { shape, mode }, &buffers).await?;
            } else {
                backend.run(&PhaseGemm { shape, mode }, &buffers).await?;
            }
        }
        Ok(())
    }

    async fn apply_float(
        &self,
        backend: &B,
        phase: &Phase<B>,
        x: &B::Buffer,
        y: &B::Buffer,
        run: Run,
    ) -> Result<()> {
        for shard in &phase.shards {
            let shape = self.shape(phase, run, shard);
            let buffers = [&shard.buffer, x, &phase.scale_blocks, y];
            if run.tokens <= run.tuning.gemv_tokens {
                backend.run(&PhaseGemvFloat { shape }, &buffers).await?;
            } else {
                backend.run(&PhaseGemmFloat { shape }, &buffers).await?;
            }
        }
        Ok(())
    }
}
