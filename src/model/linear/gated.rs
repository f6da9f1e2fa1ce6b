//! What stands around a product: the bias before it, the gate behind it.

use super::apply::{Input, Run};
use super::{Linear, LinearScratch};
use crate::backend::Backend;
use crate::error::Result;
use crate::ops::activation::{Gate, SquaredReluGlu, SwiGlu};
use crate::ops::matmul::Bias;
use crate::ops::phase::Outcome;

/// What `gate` makes of `tokens` rows of gate and up, `n` reals each: `[pairs, result]`.
pub(crate) async fn run_gate<B: Backend>(
    backend: &B,
    gate: Gate,
    (tokens, n): (usize, usize),
    buffers: [&B::Buffer; 2],
) -> Result<()> {
    match gate {
        Gate::Silu | Gate::GeluTanh => {
            let gelu = gate == Gate::GeluTanh;
            backend.run(&SwiGlu { tokens, n, gelu }, &buffers).await
        }
        Gate::SquaredRelu => backend.run(&SquaredReluGlu { tokens, n }, &buffers).await,
    }
}

impl<B: Backend> Linear<B> {
    /// Puts the bias into `y`, if there is one; how the product goes on then.
    pub(super) async fn begin(&self, backend: &B, y: &B::Buffer, run: Run) -> Result<Run> {
        let Some(bias) = &self.bias else {
            return Ok(run);
        };
        let begin = Bias {
            tokens: run.tokens,
            n: self.outputs(),
            stride: self.outputs(),
            first: 0,
            accumulate: run.accumulate,
        };
        backend.run(&begin, &[bias, y]).await?;
        Ok(Run {
            accumulate: true,
            ..run
        })
    }

    /// What `gate` makes of a stack of gate and up: `y` is [tokens, half of the outputs]. Returns how many partial maxima of
    /// each token are in the scratch buffers now: see [`Input::n_absmax_partials`].
    pub(crate) async fn apply_gated(
        &self,
        backend: &B,
        scratch: &LinearScratch<B>,
        input: Input<'_, B>,
        (gate, y): (Gate, &B::Buffer),
        run: Run,
    ) -> Result<usize> {
        backend.scope(&|| self.name.clone());
        let input = self.rotate(backend, scratch, input, run.tokens).await?;
        // A bias has to be there before the gate.
        if self.bias.is_none() {
            let gated = Outcome::Gated(gate);
            let at_once = self.apply_at_once(backend, scratch, &input, y, run, gated);
            if let Some(n_partials) = at_once.await? {
                return Ok(n_partials);
            }
        }
        let run = self.begin(backend, &scratch.pairs, run).await?;
        self.apply_rotated(backend, scratch, input, &scratch.pairs, run)
            .await?;
        let (tokens, n) = (run.tokens, self.outputs() / 2);
        let buffers = [&scratch.pairs, y];
        run_gate(backend, gate, (tokens, n), buffers).await?;
        Ok(0)
    }
}
