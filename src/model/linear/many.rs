//! Running a layer for many tokens by cooperative matrices.

use super::apply::{Input, Run};
use super::{Linear, LinearScratch, Phase, Weight};
use crate::backend::{Backend, kernel_for};
use crate::error::Result;
use crate::ops::MatrixDtype;
use crate::ops::matmul::Dense;
use crate::ops::matmul::{MatmulGemmCoop, MatmulGemmCoopTall};
use crate::ops::norm::RmsNormF16;
use crate::ops::phase::{LIFT, PhaseExpand, PhaseGemmCoop};
use crate::ops::quantize::Activations;

impl<B: Backend> Linear<B> {
    /// Whether these tokens go through cooperative matrices in half precision.
    pub(super) fn many(&self, backend: &B, scratch: &LinearScratch<B>, run: Run) -> bool {
        // Up to where sums are exact does not depend on which kernel makes them: that may be chosen by measuring.
        let few = match self.has_bits(backend, run) {
            true => {
                let exact = run.tuning.exact_tokens;
                exact[run.activations.byte_planes() - 1]
            }
            false => run.tuning.gemv_tokens,
        };
        if run.exact || run.tokens <= few {
            return false;
        }
        match &self.weight {
            Weight::Phase(phase) => {
                kernel_for::<PhaseGemmCoop>(backend.facts().features).is_some()
                    && (self.decodes(phase, run) || self.expands(scratch, phase, run).is_some())
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
                let decodes = self.decodes(phase, run);
                let expands = self.expands(scratch, phase, run);
                match expands.filter(|_| !decodes || run.tokens >= run.tuning.expand_tokens) {
                    Some(at_once) => {
                        let expanded =
                            self.apply_expanded(backend, scratch, phase, y, (run, at_once));
                        expanded.await
                    }
                    None => self.apply_codes(backend, scratch, phase, y, run).await,
                }
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

    /// Whether a product takes the codes as they are.
    fn decodes(&self, phase: &Phase<B>, run: Run) -> bool {
        let mut shapes = phase.shards.iter().map(|p| self.shape(phase, run, p));
        shapes.all(|shape| PhaseGemmCoop::fits(&shape))
    }

    /// How many layers of the stack are decoded at a time into the scratch buffer, whose weights all tokens then share: all or
    /// one. `None` if that has no room for a layer, or dense products do not take them.
    fn expands(&self, scratch: &LinearScratch<B>, phase: &Phase<B>, run: Run) -> Option<usize> {
        let [shard] = &phase.shards[..] else {
            return None;
        };
        let layers = self.segments.len();
        let fits = |&at_once: &usize| {
            let mut products = self.segments.chunks(at_once).scan(0, |first, layers| {
                let outs = layers.iter().sum();
                let product = self.expanded_product(run, *first, outs);
                *first += outs;
                Some(product)
            });
            products.all(|dense| {
                dense.outs * dense.k / 2 <= scratch.expanded.1 && MatmulGemmCoop::fits(&dense)
            })
        };
        let at_once = [layers, 1].into_iter().find(fits)?;
        PhaseExpand::fits(&self.shape(phase, run, shard)).then_some(at_once)
    }

    /// The product with decoded weights, of `outs` outputs from `out_offset` on.
    fn expanded_product(&self, run: Run, out_offset: usize, outs: usize) -> Dense {
        Dense {
            tokens: run.tokens,
            k: self.in_features,
            outs,
            out_offset,
            y_stride: self.outputs(),
            dtype: MatrixDtype::F16,
            accumulate: run.accumulate,
        }
    }

    /// Decodes the weights, `at_once` layers of the stack at a time, and runs dense products.
    async fn apply_expanded(
        &self,
        backend: &B,
        scratch: &LinearScratch<B>,
        phase: &Phase<B>,
        y: &B::Buffer,
        (run, at_once): (Run, usize),
    ) -> Result<()> {
        let (shard, weights) = (&phase.shards[0], &scratch.expanded.0);
        let mut out_offset = 0;
        for (chunk, layers) in self.segments.chunks(at_once).enumerate() {
            let mut outs = 0;
            for (i, layer_outs) in layers.iter().enumerate() {
                let expand = PhaseExpand {
                    shape: self.shape(phase, run, shard),
                    layer: chunk * at_once + i,
                    first_out: outs,
                    mode: run.activations,
                };
                let buffers = [&shard.buffer, &phase.scale_blocks, weights];
                backend.run(&expand, &buffers).await?;
                outs += layer_outs;
            }
            let dense = self.expanded_product(run, out_offset, outs);
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
    let many = matmul.dense.tokens >= backend.facts().tuning.tall_tokens;
    if many && MatmulGemmCoopTall::fits(&matmul.dense) {
        return backend.run(&MatmulGemmCoopTall(matmul), buffers).await;
    }
    backend.run(&matmul, buffers).await
}
