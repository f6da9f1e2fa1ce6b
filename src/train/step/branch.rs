//! What stands around the layers of a stack: biases, and what happens to its outputs before the residual stream has them.

use super::Trainer;
use super::parameters::in_block;
use super::product::Columns;
use crate::backend::Backend;
use crate::error::Result;
use crate::model::blueprint::{BlockTensor, Stack};
use crate::ops::activation::SoftCap;
use crate::ops::calibrate::Axpy;
use crate::ops::matmul::Bias;
use crate::ops::norm::RmsNorm;
use crate::ops::train::BiasBackward;

impl<B: Backend> Trainer<B> {
    /// Adds a branch to the residual stream: through its norm, or multiplied.
    pub(super) async fn add_branch(
        &self,
        (l, stack): (usize, &Stack),
        rows: usize,
        [branch, x]: [&B::Buffer; 2],
    ) -> Result<()> {
        let c = &self.config;
        let Some(norm) = stack.after else {
            let (n, factor) = (rows * c.hidden, c.variant.residual_scale);
            return self.backend.run(&Axpy { n, factor }, &[branch, x]).await;
        };
        let parameter = in_block(c, l, BlockTensor::Norm(norm));
        let norm = RmsNorm {
            tokens: rows,
            n: c.hidden,
            rms: c.rms(),
            accumulate: true,
        };
        let weight = self.norm_weight(parameter, 0).await?;
        self.backend.run(&norm, &[branch, weight, x]).await
    }

    /// The gradient of what stack `stack` of block `l` makes, from that of the residual stream to which it is added.
    pub(super) async fn branch_backward(
        &self,
        (l, stack): (usize, &Stack),
        rows: usize,
        branch: Option<&B::Buffer>,
    ) -> Result<&B::Buffer> {
        let (c, s) = (&self.config, &self.scratch);
        let (Some(branch), Some(d_branch)) = (branch, &s.d_branch) else {
            return Ok(&s.d_stream);
        };
        if let Some(norm) = stack.after {
            let parameter = in_block(c, l, BlockTensor::Norm(norm));
            let gradients = [&s.d_stream, d_branch];
            self.norm_backward(parameter, rows, branch, gradients, false)
                .await?;
            return Ok(d_branch);
        }
        let (n, scale) = (rows * c.hidden, c.variant.residual_scale);
        self.copy(n, &s.d_stream, d_branch).await?;
        let scaled = SoftCap { n, scale, cap: 0.0 };
        self.backend.run(&scaled, &[d_branch]).await?;
        Ok(d_branch)
    }

    /// Puts the bias of layer `layer` of stack `i` of block `l` into its outputs, or adds it; whether it has one.
    pub(super) async fn bias(
        &self,
        (l, i, layer): (usize, usize, usize),
        rows: usize,
        y: Columns<'_, B>,
        adds: bool,
    ) -> Result<bool> {
        let Some(parameter) = self.bias_of(l, i, layer) else {
            return Ok(false);
        };
        let bias = Bias {
            tokens: rows,
            n: self.list[parameter].columns,
            stride: y.width,
            first: y.first,
            accumulate: adds,
        };
        let buffers = [&self.tensors[parameter].value, y.buffer];
        self.backend.run(&bias, &buffers).await?;
        Ok(true)
    }

    /// Adds the gradient of a layer's bias, if it has one.
    pub(super) async fn bias_backward(
        &self,
        (l, i, layer): (usize, usize, usize),
        rows: usize,
        d_y: Columns<'_, B>,
    ) -> Result<()> {
        let Some(parameter) = self.bias_of(l, i, layer) else {
            return Ok(());
        };
        let back = BiasBackward {
            tokens: rows,
            n: self.list[parameter].columns,
            stride: d_y.width,
            first: d_y.first,
        };
        let gradient = &self.tensors[parameter].gradient;
        self.backend.run(&back, &[d_y.buffer, gradient]).await
    }

    /// The index of a layer's bias, if it has one.
    fn bias_of(&self, l: usize, i: usize, layer: usize) -> Option<usize> {
        let c = &self.config;
        let biased = (c.blueprint().stacks[i].layers[layer].bias)(c);
        biased.then(|| in_block(c, l, BlockTensor::Bias(i, layer)))
    }
}
