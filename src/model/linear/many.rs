//! Running a layer for many tokens by cooperative matrices.

use super::apply::{Input, Run};
use super::{Linear, LinearScratch, Phase, Shard, Weight};
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
            true => {
                let exact = backend.facts().tuning.exact_tokens;
                exact[run.activations.byte_planes() - 1]
            }
            false => backend.facts().tuning.gemv_tokens,
        };
        if run.exact || run.tokens <= few {
            return false;
        }
        match &self.weight {
            Weight::Phase(phase) => {
                kernel_for::<PhaseGemmCoop>(backend.facts().features).is_some()
                    && phase
                        .shards
                        .iter()
                        .all(|p| PhaseGemmCoop::fits(&self.shape(phase, run, p)))
            }
            Weight::Dense { dtype, shards } => {
                kernel_for::<MatmulGemmCoop>(backend.facts().features).is_some()
                    && shards
                        .iter()
                        .all(|s| MatmulGemmCoop::fits(&self.product(run, *dtype, s)))
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
        let rounds = run.activations != Activations::Float && !self.unrounded;
        if rounds && matches!(self.weight, Weight::Dense { .. }) {
            let x = self.normalize(backend, scratch, input, run.tokens).await?;
            let x = self.fake_quant(backend, scratch, x, run).await?;
            input = Input {
                x,
                norm: None,
                n_absmax_partials: 0,
            };
        }
        let cast = RmsNormF16 {
            tokens: run.tokens,
            n: self.in_features,
            norm: input.norm.map(|(_, rms)| rms),
        };
        let weight = input.norm.map_or(input.x, |(w, _)| w);
        let buffers = [input.x, weight, &scratch.inputs_f16];
        backend.run(&cast, &buffers).await?;
        match &self.weight {
            Weight::Phase(phase) => {
                if run.tokens >= backend.facts().tuning.expand_tokens
                    && self.expands(scratch, &phase.shards)
                {
                    return self.apply_expanded(backend, scratch, phase, y, run).await;
                }
                self.apply_codes(backend, scratch, phase, y, run).await
            }
            Weight::Dense { dtype, shards } => {
                for shard in shards {
                    let matmul = MatmulGemmCoop::plain(self.product(run, *dtype, shard));
                    let buffers = [&scratch.inputs_f16, &shard.buffer, y];
                    run_coop(backend, matmul, &buffers).await?;
                }
                Ok(())
            }
        }
    }

    /// Runs a product that decodes its weights.
    async fn apply_codes(
        &self,
        backend: &B,
        scratch: &LinearScratch<B>,
        phase: &Phase<B>,
        y: &B::Buffer,
        run: Run,
    ) -> Result<()> {
        let mode = run.activations;
        for shard in &phase.shards {
            let shape = self.shape(phase, run, shard);
            let buffers = [&shard.buffer, &scratch.inputs_f16, &phase.scale_blocks, y];
            let gemm = PhaseGemmCoop { shape, mode };
            backend.run(&gemm, &buffers).await?;
        }
        Ok(())
    }

    /// Whether the scratch buffer has room for the decoded weights of each layer, which all tokens then share.
    fn expands(&self, scratch: &LinearScratch<B>, shards: &[Shard<B>]) -> bool {
        let layers = self.segments.iter();
        let words = layers.map(|s| s * self.in_features / 2).max();
        shards.len() == 1 && words.is_some_and(|words| words <= scratch.expanded.1)
    }

    /// Decodes the weights and runs dense products, one layer of the stack after the other.
    async fn apply_expanded(
        &self,
        backend: &B,
        scratch: &LinearScratch<B>,
        phase: &Phase<B>,
        y: &B::Buffer,
        run: Run,
    ) -> Result<()> {
        let (shard, weights) = (&phase.shards[0], &scratch.expanded.0);
        let mut out_offset = 0;
        for (layer, &outs) in self.segments.iter().enumerate() {
            let expand = PhaseExpand {
                shape: self.shape(phase, run, shard),
                layer,
                mode: run.activations,
            };
            let buffers = [&shard.buffer, &phase.scale_blocks, weights];
            backend.run(&expand, &buffers).await?;
            let dense = Dense {
                tokens: run.tokens,
                k: self.in_features,
                outs,
                out_offset,
                y_stride: self.outputs(),
                dtype: MatrixDtype::F16,
                accumulate: run.accumulate,
            };
            let scale = 1.0 / LIFT;
            let matmul = MatmulGemmCoop { dense, scale };
            run_coop(backend, matmul, &[&scratch.inputs_f16, weights, y]).await?;
            out_offset += outs;
        }
        Ok(())
    }
}

/// Runs the dense product by whichever kernel suits the number of tokens; both give the same sums.
async fn run_coop<B: Backend>(
    backend: &B,
    matmul: MatmulGemmCoop,
    buffers: &[&B::Buffer],
) -> Result<()> {
    if matmul.dense.tokens >= backend.facts().tuning.tall_tokens {
        return backend.run(&MatmulGemmCoopTall(matmul), buffers).await;
    }
    backend.run(&matmul, buffers).await
}
