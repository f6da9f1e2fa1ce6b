//! Running a layer for many tokens by cooperative matrices.

use super::apply::{Input, Run};
use super::{BITS_ROWS, Linear, LinearScratch, Phase, Shard, Weight};
use crate::backend::{Backend, kernel_for};
use crate::error::Result;
use crate::ops::MatrixDtype;
use crate::ops::matmul::Dense;
use crate::ops::matmul::{MatmulGemmCoop, MatmulGemmCoopTall};
use crate::ops::norm::RmsNormF16;
use crate::ops::phase::{LIFT, PhaseExpand, PhaseGemmCoop};
use crate::ops::quantize::Activations;

impl<B: Backend> Linear<B> {
    /// Whether these tokens go through cooperative matrices.
    pub(super) fn many(&self, backend: &B, run: Run) -> bool {
        let few = match self.by_bits(backend, run) {
            true => BITS_ROWS,
            false => backend.facts().tuning.gemv_tokens,
        };
        if run.exact || run.rows <= few {
            return false;
        }
        match &self.weight {
            Weight::Phase(phase) => {
                kernel_for::<PhaseGemmCoop>(backend.facts().features).is_some()
                    && phase
                        .pieces
                        .iter()
                        .all(|p| PhaseGemmCoop::fits(&self.shape(phase, run, p)))
            }
            Weight::Dense { stored, shards } => {
                kernel_for::<MatmulGemmCoop>(backend.facts().features).is_some()
                    && shards
                        .iter()
                        .all(|s| MatmulGemmCoop::fits(&self.product(run, *stored, s)))
            }
        }
    }

    pub(super) async fn apply_coop<'a>(
        &self,
        backend: &B,
        scratch: &'a LinearScratch<B>,
        mut input: Input<'a, B>,
        y: &B::Buffer,
        run: Run,
    ) -> Result<()> {
        if matches!(self.weight, Weight::Dense { .. }) && run.activations != Activations::Float {
            let x = self.normalize(backend, scratch, input, run.rows).await?;
            let x = self.snap(backend, scratch, x, run).await?;
            input = Input {
                x,
                norm: None,
                known: 0,
            };
        }
        let half = RmsNormF16 {
            rows: run.rows,
            n: self.in_features,
            norm: input.norm.map(|(_, eps)| eps),
        };
        let weight = input.norm.map_or(input.x, |(w, _)| w);
        let buffers = [input.x, weight, &scratch.halves];
        backend.run(&half, &buffers).await?;
        match &self.weight {
            Weight::Phase(phase) => {
                if run.rows >= backend.facts().tuning.expand_tokens
                    && self.expands(scratch, &phase.pieces)
                {
                    return self.apply_expanded(backend, scratch, phase, y, run).await;
                }
                self.apply_codes(backend, scratch, phase, y, run).await
            }
            Weight::Dense { stored, shards } => {
                for shard in shards {
                    let matmul = MatmulGemmCoop::plain(self.product(run, *stored, shard));
                    let buffers = [&scratch.halves, &shard.buffer, y];
                    run_coop(backend, matmul, &buffers).await?;
                }
                Ok(())
            }
        }
    }

    /// By a product that decodes its weights.
    async fn apply_codes(
        &self,
        backend: &B,
        scratch: &LinearScratch<B>,
        phase: &Phase<B>,
        y: &B::Buffer,
        run: Run,
    ) -> Result<()> {
        let mode = run.activations;
        for piece in &phase.pieces {
            let shape = self.shape(phase, run, piece);
            let buffers = [&piece.buffer, &scratch.halves, &phase.cells, y];
            let gemm = PhaseGemmCoop { shape, mode };
            backend.run(&gemm, &buffers).await?;
        }
        Ok(())
    }

    /// Whether weights are decoded once for all tokens: if there are enough of those, and room for the weights.
    fn expands(&self, scratch: &LinearScratch<B>, pieces: &[Shard<B>]) -> bool {
        let layers = self.segments.iter();
        let words = layers.map(|s| s * self.in_features / 2).max();
        pieces.len() == 1 && words.is_some_and(|words| words <= scratch.expanded.1)
    }

    /// By dense products with weights that are decoded before, one layer of the stack after the other.
    async fn apply_expanded(
        &self,
        backend: &B,
        scratch: &LinearScratch<B>,
        phase: &Phase<B>,
        y: &B::Buffer,
        run: Run,
    ) -> Result<()> {
        let (piece, weights) = (&phase.pieces[0], &scratch.expanded.0);
        let mut out_offset = 0;
        for (layer, &outs) in self.segments.iter().enumerate() {
            let expand = PhaseExpand {
                shape: self.shape(phase, run, piece),
                layer,
                mode: run.activations,
            };
            let buffers = [&piece.buffer, &phase.cells, weights];
            backend.run(&expand, &buffers).await?;
            let dense = Dense {
                rows: run.rows,
                k: self.in_features,
                outs,
                out_offset,
                y_stride: self.outputs(),
                stored: MatrixDtype::F16,
                accumulate: run.accumulate,
            };
            let scale = 1.0 / LIFT;
            let matmul = MatmulGemmCoop { dense, scale };
            run_coop(backend, matmul, &[&scratch.halves, weights, y]).await?;
            out_offset += outs;
        }
        Ok(())
    }
}

/// The dense product by whichever kernel suits the number of rows; both give the same sums.
async fn run_coop<B: Backend>(
    backend: &B,
    matmul: MatmulGemmCoop,
    buffers: &[&B::Buffer],
) -> Result<()> {
    if matmul.dense.rows >= backend.facts().tuning.tall_tokens {
        return backend.run(&MatmulGemmCoopTall(matmul), buffers).await;
    }
    backend.run(&matmul, buffers).await
}
