//! One transformer block, forward and back: the stacks of its blueprint, and the same in reverse.

use super::Trainer;
use super::parameters::in_block;
use super::product::{Columns, Factor};
use super::scratch::{Acts, Shape};
use crate::backend::Backend;
use crate::error::Result;
use crate::model::blueprint::{BlockTensor, Input, Output, Stack};
use crate::model::linear::run_gate;
use crate::ops::activation::Gate;
use crate::ops::calibrate::Axpy;
use crate::ops::memory::{Copy, Fill};
use crate::ops::norm::RmsNorm;
use crate::ops::train::{
    RmsNormBackward, RmsNormWeightBackward, SquaredReluGluBackward, SwigluBackward,
};

impl<B: Backend> Trainer<B> {
    /// The buffers for the activations of block `l`.
    fn acts(&self, l: usize) -> &Acts<B> {
        &self.scratch.acts[l % self.scratch.acts.len()]
    }

    /// `y = norm(x)` by the weight `parameter`.
    pub(super) async fn norm(
        &self,
        parameter: usize,
        rows: usize,
        x: &B::Buffer,
        y: &B::Buffer,
    ) -> Result<()> {
        self.backend.scope(&|| self.list[parameter].name.clone());
        let norm = RmsNorm {
            tokens: rows,
            n: self.list[parameter].columns,
            rms: self.config.rms(),
            accumulate: false,
        };
        let weight = self.norm_weight(parameter, 0).await?;
        self.backend.run(&norm, &[x, weight, y]).await
    }

    /// What a norm multiplies by: its stored weight, or that and what its family stores it without, made in buffer `which`.
    pub(super) async fn norm_weight(&self, parameter: usize, which: usize) -> Result<&B::Buffer> {
        let value = &self.tensors[parameter].value;
        let Some(made) = &self.scratch.norm_weights else {
            return Ok(value);
        };
        let (made, n) = (&made[which], self.list[parameter].columns);
        let offset = self.config.blueprint().norm_offset;
        let fill = Fill {
            words: n,
            value: offset.to_bits(),
        };
        self.backend.run(&fill, &[made]).await?;
        let add = Axpy { n, factor: 1.0 };
        self.backend.run(&add, &[value, made]).await?;
        Ok(made)
    }

    /// Adds the gradient of a norm to that of its weight, and adds to that of what it reads (`accumulate`) or begins it.
    pub(super) async fn norm_backward(
        &self,
        parameter: usize,
        rows: usize,
        x: &B::Buffer,
        [d_y, d_x]: [&B::Buffer; 2],
        accumulate: bool,
    ) -> Result<()> {
        let (tensors, s) = (&self.tensors[parameter], &self.scratch);
        let n = self.list[parameter].columns;
        let weight = self.norm_weight(parameter, 0).await?;
        self.backend
            .scope(&|| format!("{}, gradient", self.list[parameter].name));
        let back = RmsNormBackward {
            tokens: rows,
            n,
            rms: self.config.rms(),
            accumulate,
        };
        let buffers = [x, weight, d_y, d_x, &s.row_scale];
        self.backend.run(&back, &buffers).await?;
        let back = RmsNormWeightBackward { tokens: rows, n };
        let buffers = [x, d_y, &s.row_scale, &tensors.gradient];
        self.backend.run(&back, &buffers).await
    }

    pub(super) async fn copy(&self, words: usize, x: &B::Buffer, y: &B::Buffer) -> Result<()> {
        let quads = words.div_ceil(4);
        self.backend.run(&Copy { quads }, &[x, y]).await
    }

    /// Residual stream number `i` of block `l`: what enters the block, and what it is after each stack that adds to it.
    fn stream(&self, l: usize, i: usize) -> &B::Buffer {
        let s = &self.scratch;
        match i.checked_sub(1) {
            None => &s.inputs[l],
            Some(i) => self.acts(l).streams.get(i).unwrap_or(&s.inputs[l + 1]),
        }
    }

    /// What stack `i` of block `l` reads, before its norm.
    fn source(&self, l: usize, i: usize) -> &B::Buffer {
        let blueprint = self.config.blueprint();
        match blueprint.stacks[i].input {
            Input::Residual => self.stream(l, blueprint.additions(i)),
            Input::Attention => &self.scratch.attentions[l],
            Input::Activation => &self.acts(l).activation,
        }
    }

    /// What the layers of stack `i` of block `l` multiply.
    fn input(&self, l: usize, i: usize) -> Columns<'_, B> {
        let stack = &self.config.blueprint().stacks[i];
        let x = match stack.norm {
            Some(norm) => &self.acts(l).normed[norm],
            None => self.source(l, i),
        };
        Columns::all(x, (stack.inputs)(&self.config))
    }

    /// The gradient of what a stack reads, before its norm.
    fn source_gradient(&self, stack: &Stack) -> &B::Buffer {
        let s = &self.scratch;
        match stack.input {
            Input::Residual => &s.d_stream,
            Input::Attention => &s.d_attention,
            Input::Activation => &s.d_activation,
        }
    }

    /// Where the gradient of what the layers of a stack multiply goes.
    fn input_gradient(&self, stack: &Stack) -> Columns<'_, B> {
        let d_x = match stack.norm {
            Some(_) => &self.scratch.d_normed,
            None => self.source_gradient(stack),
        };
        Columns::all(d_x, (stack.inputs)(&self.config))
    }

    /// The layers of stack `i` of block `l`: the index of each as a parameter, and its first column among the outputs.
    fn layers(&self, l: usize, i: usize) -> impl Iterator<Item = (usize, usize)> {
        let (c, stack) = (&self.config, &self.config.blueprint().stacks[i]);
        let mut next = 0;
        stack.layers.iter().enumerate().map(move |(layer, of)| {
            let first = next;
            next += (of.outputs)(c);
            (in_block(c, l, BlockTensor::Layer(i, layer)), first)
        })
    }

    /// The norm through which stack `i` of block `l` reads, if there is one.
    async fn stack_norm(&self, l: usize, i: usize, rows: usize) -> Result<()> {
        let c = &self.config;
        let Some(norm) = c.blueprint().stacks[i].norm else {
            return Ok(());
        };
        let parameter = in_block(c, l, BlockTensor::Norm(norm));
        let y = &self.acts(l).normed[norm];
        self.norm(parameter, rows, self.source(l, i), y).await
    }

    /// What becomes of gate and up: `[pairs, activation]`.
    async fn gate(&self, rows: usize, buffers: [&B::Buffer; 2]) -> Result<()> {
        let (gate, n) = (self.config.blueprint().gate, self.config.intermediate);
        run_gate(&self.backend, gate, (rows, n), buffers).await
    }

    /// Gate and up become their gradients: `[d_activation, pairs]`.
    async fn gate_backward(&self, rows: usize, buffers: [&B::Buffer; 2]) -> Result<()> {
        let (tokens, n) = (rows, self.config.intermediate);
        match self.config.blueprint().gate {
            Gate::Silu | Gate::GeluTanh => {
                let gelu = self.config.blueprint().gate == Gate::GeluTanh;
                let back = SwigluBackward { tokens, n, gelu };
                self.backend.run(&back, &buffers).await
            }
            Gate::SquaredRelu => {
                let back = SquaredReluGluBackward { tokens, n };
                self.backend.run(&back, &buffers).await
            }
        }
    }

    /// Stack number `i` of block `l`, and what becomes of its outputs; `again`: what attention gives is known.
    async fn stack(&self, l: usize, i: usize, shape: Shape, again: bool) -> Result<()> {
        let (c, s, a, rows) = (&self.config, &self.scratch, self.acts(l), shape.n_tokens());
        let (stack, before) = (&c.blueprint().stacks[i], c.blueprint().additions(i));
        self.stack_norm(l, i, rows).await?;
        let y = match stack.output {
            Output::Attention => &a.qkv,
            Output::Gated => &a.pairs,
            Output::Residual => match a.branches.get(before) {
                Some(branch) => branch,
                None => self.stream(l, before + 1),
            },
        };
        if stack.output == Output::Residual {
            let [x, next] = [before, before + 1].map(|i| self.stream(l, i));
            self.copy(rows * c.hidden, x, next).await?;
        }
        let adds = stack.output == Output::Residual && a.branches.is_empty();
        let input = self.input(l, i);
        let input = self.layer_input(stack.layers[0].form, rows, input).await?;
        let y = Columns::all(y, stack.outputs(c));
        for (layer, (parameter, first)) in self.layers(l, i).enumerate() {
            let biased = self.bias((l, i, layer), rows, y.from(first), adds).await?;
            self.linear(parameter, rows, input, y.from(first), adds || biased)
                .await?;
        }
        match stack.output {
            Output::Attention => {
                if let Some(raw) = &a.raw_qkv {
                    self.normalize_heads(l, rows, [&a.qkv, raw]).await?;
                }
                self.rotate(l, shape, &a.qkv, false).await?;
                match again {
                    true => Ok(()),
                    false => self.attend(l, shape, &a.qkv, &s.attentions[l]).await,
                }
            }
            Output::Gated => self.gate(rows, [&a.pairs, &a.activation]).await,
            Output::Residual => match a.branches.get(before) {
                None => Ok(()),
                Some(branch) => {
                    let next = self.stream(l, before + 1);
                    self.add_branch((l, stack), rows, [branch, next]).await
                }
            },
        }
    }

    /// The gradient of stack number `i` of block `l`, from that of what becomes of its outputs: of its weights, of its norm, and
    /// of what it reads. That of the residual stream grows by its share.
    async fn stack_backward(&self, l: usize, i: usize, shape: Shape) -> Result<()> {
        let (c, s, a, rows) = (&self.config, &self.scratch, self.acts(l), shape.n_tokens());
        let stack = &c.blueprint().stacks[i];
        let d_y = match stack.output {
            Output::Attention => {
                self.attend_backward(l, shape, &a.qkv, &s.d_attention, &s.d_qkv)
                    .await?;
                self.rotate(l, shape, &s.d_qkv, true).await?;
                if let Some(raw) = &a.raw_qkv {
                    let buffers = [raw, &s.d_qkv];
                    self.normalize_heads_backward(l, rows, buffers).await?;
                }
                &s.d_qkv
            }
            Output::Gated => {
                self.gate_backward(rows, [&s.d_activation, &a.pairs])
                    .await?;
                &a.pairs
            }
            Output::Residual => {
                let branch = a.branches.get(c.blueprint().additions(i));
                self.branch_backward((l, stack), rows, branch).await?
            }
        };
        let d_y = Columns::all(d_y, stack.outputs(c));
        for (layer, (_, first)) in self.layers(l, i).enumerate() {
            let d_y = d_y.from(first);
            self.bias_backward((l, i, layer), rows, d_y).await?;
        }
        let d_y = self.factor(Factor::Left, rows, d_y).await?;
        let (form, x) = (stack.layers[0].form, self.input(l, i));
        let x = self.layer_input(form, rows, x).await?;
        let d_x = self.input_gradient(stack);
        // what the residual stream has of its gradient is that of later stacks
        let shared = stack.input == Input::Residual;
        let adds = shared && stack.norm.is_none();
        for (parameter, first) in self.layers(l, i) {
            let d_y = d_y.from(first);
            self.linear_weight(parameter, rows, d_y, x).await?;
            self.linear_input(parameter, rows, d_y, d_x, adds || first > 0)
                .await?;
        }
        if let Some(norm) = stack.norm {
            let parameter = in_block(c, l, BlockTensor::Norm(norm));
            let gradients = [&s.d_normed, self.source_gradient(stack)];
            self.norm_backward(parameter, rows, self.source(l, i), gradients, shared)
                .await?;
        }
        Ok(())
    }

    /// Block `l`: from `inputs[l]` to `inputs[l + 1]`.
    pub(super) async fn block(&mut self, l: usize, shape: Shape) -> Result<()> {
        self.quantizer
            .enter(&self.backend, &self.list, &self.tensors, l)
            .await?;
        for i in 0..self.config.blueprint().stacks.len() {
            self.stack(l, i, shape, false).await?;
        }
        Ok(())
    }

    /// The gradient of block `l`: in `d_stream`, that of its output becomes that of its input. `again`: what its
    /// backward pass needs was not kept and is computed once more.
    pub(super) async fn block_backward(
        &mut self,
        l: usize,
        shape: Shape,
        again: bool,
    ) -> Result<()> {
        self.quantizer
            .enter(&self.backend, &self.list, &self.tensors, l)
            .await?;
        let stacks = self.config.blueprint().stacks;
        let n = stacks.len();
        if again {
            // What the last stack adds gives the next block's input, which is there, unless a norm behind it asks for more.
            let behind = stacks.last().is_some_and(|stack| stack.after.is_some());
            let last = if behind { n } else { n.saturating_sub(1) };
            for i in 0..last {
                self.stack(l, i, shape, true).await?;
            }
            if !behind {
                self.stack_norm(l, last, shape.n_tokens()).await?;
            }
        }
        for i in (0..n).rev() {
            self.stack_backward(l, i, shape).await?;
        }
        Ok(())
    }
}
