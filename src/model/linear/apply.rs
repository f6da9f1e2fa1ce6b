//! Running a layer: which ops, in which order, for how many tokens on which device.

use super::{Linear, LinearScratch, Phase, Shard, Weight};
use crate::backend::{Backend, kernel_for};
use crate::error::Result;
use crate::ops::MatrixDtype;
use crate::ops::matmul::{Dense, MatmulGemm, MatmulGemv};
use crate::ops::norm::{RmsNormQuantize, roundable};
use crate::ops::phase::{
    Outcome, PhaseGemm, PhaseGemmBits, PhaseGemmFloat, PhaseGemv, PhaseGemvFloat, PhaseGemvFused,
    PhaseShape,
};
use crate::ops::quantize::Hadamard;
use crate::ops::quantize::{Activations, FakeQuant, QuantizeAct};
use crate::ops::{activation::SwiGlu, norm::RmsNorm};

/// What a layer reads: rows of f32, normalized first if a norm is given.
pub struct Input<'a, B: Backend> {
    /// [rows, in_features].
    pub x: &'a B::Buffer,
    /// Weights of an RMS norm and its eps.
    pub norm: Option<(&'a B::Buffer, f32)>,
    /// How many of the largest magnitudes of each row's parts lie in the scratch buffers; 0: none.
    pub known: usize,
}

/// How one application of a layer goes.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Tokens.
    pub rows: usize,
    /// Add to the output.
    pub accumulate: bool,
    /// How activations enter.
    pub activations: Activations,
    /// Integer sums for any number of tokens.
    pub exact: bool,
}

impl<B: Backend> Linear<B> {
    /// `y = weight x`, or `y += weight x`, for `rows` tokens: `x` [rows, in], `y` [rows, outputs], both f32.
    pub async fn apply(
        &self,
        backend: &B,
        scratch: &LinearScratch<B>,
        input: Input<'_, B>,
        y: &B::Buffer,
        run: Run,
    ) -> Result<()> {
        backend.scope(&|| self.place.clone());
        let input = self.turn(backend, scratch, input, run.rows).await?;
        self.apply_turned(backend, scratch, input, y, run).await
    }

    /// [`Linear::apply`] to inputs that are turned already, where they are.
    async fn apply_turned(
        &self,
        backend: &B,
        scratch: &LinearScratch<B>,
        input: Input<'_, B>,
        y: &B::Buffer,
        run: Run,
    ) -> Result<()> {
        if self.many(backend, run) {
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
            return self.apply_rounded(backend, scratch, phase, y, run).await;
        }
        let x = self.normalize(backend, scratch, input, run.rows).await?;
        match &self.weight {
            Weight::Dense { stored, shards } => {
                let x = self.snap(backend, scratch, x, run).await?;
                self.apply_dense(backend, x, y, run, (*stored, shards))
                    .await
            }
            Weight::Phase(phase) => self.apply_float(backend, phase, x, y, run).await,
        }
    }

    /// `y = silu(gate) up` for a stack of gate and up: `y` [rows, half of the outputs]. Returns how many of the largest
    /// magnitudes of each row's parts are in the scratch buffers now, for [`Input::known`].
    pub async fn apply_swiglu(
        &self,
        backend: &B,
        scratch: &LinearScratch<B>,
        input: Input<'_, B>,
        y: &B::Buffer,
        run: Run,
    ) -> Result<usize> {
        backend.scope(&|| self.place.clone());
        let input = self.turn(backend, scratch, input, run.rows).await?;
        let at_once = self.apply_at_once(backend, scratch, &input, y, run, Outcome::Gated);
        if let Some(parts) = at_once.await? {
            return Ok(parts);
        }
        self.apply_turned(backend, scratch, input, &scratch.pairs, run)
            .await?;
        let (rows, n) = (run.rows, self.outputs() / 2);
        let buffers = [&scratch.pairs, y];
        backend.run(&SwiGlu { rows, n }, &buffers).await?;
        Ok(0)
    }

    /// The input turned as the weights are, or as it is.
    async fn turn<'a>(
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
        let turn = Hadamard {
            rows,
            width: self.in_features,
            back: false,
        };
        backend.run(&turn, &[x, &scratch.snapped]).await?;
        Ok(Input {
            x: &scratch.snapped,
            norm: None,
            known: 0,
        })
    }

    /// Products that round their tokens themselves, and how many largest magnitudes of each token they leave; `None` if
    /// this layer, device or number of tokens does not suit them.
    async fn apply_at_once(
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
        let tuning = &backend.facts().tuning;
        // every workgroup rounds the token for itself: nothing for devices with few and narrow processors
        let wide = backend.facts().subgroup_size >= tuning.fused_subgroup;
        let kernel = kernel_for::<PhaseGemvFused>(backend.facts().features);
        let few = run.rows <= tuning.gemv_tokens && run.activations != Activations::Float;
        if !wide || kernel.is_none() || !few || self.by_bits(backend, run) {
            return Ok(None);
        }
        let product = |piece| PhaseGemvFused {
            shape: self.shape(phase, run, piece),
            mode: run.activations,
            norm: input.norm.map(|(_, eps)| eps),
            outcome,
            known: input.known,
            processors: tuning.processors,
        };
        let products: Vec<_> = phase.pieces.iter().map(product).collect();
        let memory = backend.facts().workgroup_bytes;
        if !products.iter().all(|product| product.fits(memory)) {
            return Ok(None);
        }
        let weight = input.norm.map_or(input.x, |(w, _)| w);
        for (piece, product) in phase.pieces.iter().zip(&products) {
            let tops = &scratch.tops;
            let buffers = [&piece.buffer, input.x, weight, &phase.cells, y, tops];
            backend.run(product, &buffers).await?;
        }
        let left = products.first().filter(|p| p.outcome == Outcome::Gated);
        Ok(Some(left.map_or(0, PhaseGemvFused::parts)))
    }

    /// Whether these tokens' exact sums are made by cooperative matrices.
    pub(super) fn by_bits(&self, backend: &B, run: Run) -> bool {
        let Weight::Phase(phase) = &self.weight else {
            return false;
        };
        run.activations != Activations::Float
            && run.rows >= backend.facts().tuning.bits_tokens[run.activations.planes() - 1]
            && kernel_for::<PhaseGemmBits>(backend.facts().features).is_some()
            // what it asks for is the same in all pieces
            && phase.pieces.first().is_some_and(|piece| PhaseGemmBits::fits(&self.shape(phase, run, piece)))
    }

    /// Rounded tokens into the scratch buffers.
    async fn round(
        &self,
        backend: &B,
        scratch: &LinearScratch<B>,
        input: Input<'_, B>,
        run: Run,
    ) -> Result<()> {
        let (rows, columns, mode) = (run.rows, self.in_features, run.activations);
        let (q, absmax) = (&scratch.rounded, &scratch.absmax);
        if let Some((weight, eps)) = input.norm.filter(|_| roundable(columns)) {
            let round = RmsNormQuantize {
                rows,
                columns,
                eps,
                mode,
            };
            return backend.run(&round, &[input.x, weight, q, absmax]).await;
        }
        let x = self.normalize(backend, scratch, input, rows).await?;
        let round = QuantizeAct {
            rows,
            columns,
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
        let Some((weight, eps)) = input.norm else {
            return Ok(input.x);
        };
        let n = self.in_features;
        let buffers = [input.x, weight, &scratch.normalized];
        backend.run(&RmsNorm { rows, n, eps }, &buffers).await?;
        Ok(&scratch.normalized)
    }

    /// Puts the inputs of a dense layer on the grid that rounding would.
    pub(super) async fn snap<'a>(
        &self,
        backend: &B,
        scratch: &'a LinearScratch<B>,
        x: &'a B::Buffer,
        run: Run,
    ) -> Result<&'a B::Buffer> {
        if run.activations == Activations::Float {
            return Ok(x);
        }
        let snap = FakeQuant {
            rows: run.rows,
            columns: self.in_features,
            mode: run.activations,
        };
        backend.run(&snap, &[x, &scratch.snapped]).await?;
        Ok(&scratch.snapped)
    }

    async fn apply_dense(
        &self,
        backend: &B,
        x: &B::Buffer,
        y: &B::Buffer,
        run: Run,
        (stored, shards): (MatrixDtype, &[Shard<B>]),
    ) -> Result<()> {
        for shard in shards {
            let matmul = self.product(run, stored, shard);
            let buffers = [x, &shard.buffer, y];
            if run.rows <= backend.facts().tuning.gemv_tokens {
                backend.run(&MatmulGemv(matmul), &buffers).await?;
            } else {
                backend.run(&MatmulGemm(matmul), &buffers).await?;
            }
        }
        Ok(())
    }

    pub(super) fn product(&self, run: Run, stored: MatrixDtype, shard: &Shard<B>) -> Dense {
        Dense {
            rows: run.rows,
            k: self.in_features,
            outs: shard.rows,
            out_offset: shard.first,
            y_stride: self.outputs(),
            stored,
            accumulate: run.accumulate,
        }
    }

    pub(super) fn shape(&self, phase: &Phase<B>, run: Run, piece: &Shard<B>) -> PhaseShape {
        PhaseShape {
            segments: self.segments.clone(),
            in_features: self.in_features,
            stages: phase.stages,
            per_row: phase.per_row,
            group_words: phase.group_words,
            first_row: piece.first,
            piece_rows: piece.rows,
            accumulate: run.accumulate,
            rows: run.rows,
        }
    }

    async fn apply_rounded(
        &self,
        backend: &B,
        scratch: &LinearScratch<B>,
        phase: &Phase<B>,
        y: &B::Buffer,
        run: Run,
    ) -> Result<()> {
        let (mode, cells) = (run.activations, &phase.cells);
        let bits = self.by_bits(backend, run);
        let tuning = &backend.facts().tuning;
        for piece in &phase.pieces {
            let shape = self.shape(phase, run, piece);
            let buffers = [&piece.buffer, &scratch.rounded, &scratch.absmax, cells, y];
            if bits {
                let product = PhaseGemmBits {
                    shape,
                    mode,
                    processors: tuning.processors,
                };
                backend.run(&product, &buffers).await?;
            } else if run.rows <= backend.facts().tuning.gemv_tokens {
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
        for piece in &phase.pieces {
            let shape = self.shape(phase, run, piece);
            let buffers = [&piece.buffer, x, &phase.cells, y];
            if run.rows <= backend.facts().tuning.gemv_tokens {
                backend.run(&PhaseGemvFloat { shape }, &buffers).await?;
            } else {
                backend.run(&PhaseGemmFloat { shape }, &buffers).await?;
            }
        }
        Ok(())
    }
}
