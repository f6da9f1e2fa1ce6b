//! One transformer block, forward and back: the same calls in reverse.

use super::Trainer;
use super::parameters::{of_block, place};
use super::product::{Columns, Factor};
use super::scratch::{Acts, Shape, qkv_row};
use crate::backend::Backend;
use crate::error::Result;
use crate::ops::memory::Copy;
use crate::ops::train::norm::{RmsNormBackward, RmsNormWeightBackward};
use crate::ops::train::swiglu::SwigluBackward;
use crate::ops::{activation::SwiGlu, norm::RmsNorm};

impl<B: Backend> Trainer<B> {
    /// What the activations of block `l` are kept in.
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
            rows,
            n: self.config.hidden,
            eps: self.config.norm_eps,
        };
        self.backend
            .run(&norm, &[x, &self.held[parameter].value, y])
            .await
    }

    /// Adds the gradient of a norm to its weight's and to that of the residual stream, or begins the latter.
    pub(super) async fn norm_backward(
        &self,
        parameter: usize,
        rows: usize,
        x: &B::Buffer,
        d_y: &B::Buffer,
        accumulate: bool,
    ) -> Result<()> {
        let (held, s, n) = (&self.held[parameter], &self.scratch, self.config.hidden);
        self.backend
            .scope(&|| format!("{}, gradient", self.list[parameter].name));
        let back = RmsNormBackward {
            rows,
            n,
            eps: self.config.norm_eps,
            accumulate,
        };
        let buffers = [x, &held.value, d_y, &s.d_stream, &s.row_scale];
        self.backend.run(&back, &buffers).await?;
        let back = RmsNormWeightBackward { rows, n };
        let buffers = [x, d_y, &s.row_scale, &held.gradient];
        self.backend.run(&back, &buffers).await
    }

    async fn copy(&self, words: usize, x: &B::Buffer, y: &B::Buffer) -> Result<()> {
        let quads = words.div_ceil(4);
        self.backend.run(&Copy { quads }, &[x, y]).await
    }

    /// Everything of block `l` but its output; `again`: its attention is known.
    async fn inside(&self, l: usize, shape: Shape, again: bool) -> Result<()> {
        let (c, rows) = (&self.config, shape.rows());
        let (x, a) = (&self.scratch.inputs[l], self.acts(l));
        let attention = &self.scratch.attentions[l];
        let (h, q, i) = (c.hidden, c.heads * c.head_dim, c.intermediate);
        let at = |place| of_block(l, place);
        let input = |x| self.factor(Factor::Right, rows, x);
        self.norm(at(place::ATTENTION_NORM), rows, x, &a.attention_in)
            .await?;
        let from = input(Columns::all(&a.attention_in, h)).await?;
        for (place, first) in self.qkv() {
            let to = Columns::all(&a.qkv, qkv_row(c)).from(first);
            self.linear(at(place), rows, from, to, false).await?;
        }
        self.rotate(shape, &a.qkv, false).await?;
        if !again {
            self.attend(shape, &a.qkv, attention).await?;
        }
        self.copy(rows * h, x, &a.middle).await?;
        let from = input(Columns::all(attention, q)).await?;
        self.linear(at(place::O), rows, from, Columns::all(&a.middle, h), true)
            .await?;
        self.norm(at(place::MLP_NORM), rows, &a.middle, &a.mlp_in)
            .await?;
        let from = input(Columns::all(&a.mlp_in, h)).await?;
        for (place, first) in [(place::GATE, 0), (place::UP, i)] {
            let to = Columns::all(&a.pairs, 2 * i).from(first);
            self.linear(at(place), rows, from, to, false).await?;
        }
        let gated = SwiGlu { rows, n: i };
        self.backend.run(&gated, &[&a.pairs, &a.activation]).await
    }

    /// Parameters of q, k and v, and their first columns beside each other.
    fn qkv(&self) -> [(usize, usize); 3] {
        let (q, kv) = (self.config.heads, self.config.kv_heads);
        let first = [0, q, q + kv].map(|head| head * self.config.head_dim);
        [
            (place::Q, first[0]),
            (place::K, first[1]),
            (place::V, first[2]),
        ]
    }

    /// Block `l`: from `inputs[l]` to `inputs[l + 1]`.
    pub(super) async fn block(&mut self, l: usize, shape: Shape) -> Result<()> {
        self.quantizer
            .enter(&self.backend, &self.list, &self.held, l)
            .await?;
        self.inside(l, shape, false).await?;
        let (c, a, rows) = (&self.config, self.acts(l), shape.rows());
        let y = &self.scratch.inputs[l + 1];
        self.copy(rows * c.hidden, &a.middle, y).await?;
        let from = Columns::all(&a.activation, c.intermediate);
        let from = self.factor(Factor::Right, rows, from).await?;
        let down = of_block(l, place::DOWN);
        self.linear(down, rows, from, Columns::all(y, c.hidden), true)
            .await
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
            .enter(&self.backend, &self.list, &self.held, l)
            .await?;
        if again {
            self.inside(l, shape, true).await?;
        }
        self.mlp_backward(l, shape.rows()).await?;
        self.attention_backward(l, shape).await
    }

    async fn mlp_backward(&self, l: usize, rows: usize) -> Result<()> {
        let (c, s, a) = (&self.config, &self.scratch, self.acts(l));
        let (h, i) = (c.hidden, c.intermediate);
        let at = |place| of_block(l, place);
        let gradient = |d_y| self.factor(Factor::Left, rows, d_y);
        let input = |x| self.factor(Factor::Right, rows, x);
        let d_y = gradient(Columns::all(&s.d_stream, h)).await?;
        let x = input(Columns::all(&a.activation, i)).await?;
        let d_x = Columns::all(&s.d_activation, i);
        self.linear_weight(at(place::DOWN), rows, d_y, x).await?;
        self.linear_input(at(place::DOWN), rows, d_y, d_x, false)
            .await?;
        let back = SwigluBackward { rows, n: i };
        self.backend
            .run(&back, &[&s.d_activation, &a.pairs])
            .await?;
        let d_pairs = gradient(Columns::all(&a.pairs, 2 * i)).await?;
        let x = input(Columns::all(&a.mlp_in, h)).await?;
        for (place, first) in [(place::GATE, 0), (place::UP, i)] {
            let (d_y, d_x) = (d_pairs.from(first), Columns::all(&s.d_normed, h));
            self.linear_weight(at(place), rows, d_y, x).await?;
            self.linear_input(at(place), rows, d_y, d_x, first > 0)
                .await?;
        }
        self.norm_backward(at(place::MLP_NORM), rows, &a.middle, &s.d_normed, true)
            .await
    }

    async fn attention_backward(&self, l: usize, shape: Shape) -> Result<()> {
        let (c, s, a, rows) = (&self.config, &self.scratch, self.acts(l), shape.rows());
        let (h, q) = (c.hidden, c.heads * c.head_dim);
        let at = |place| of_block(l, place);
        let gradient = |d_y| self.factor(Factor::Left, rows, d_y);
        let input = |x| self.factor(Factor::Right, rows, x);
        let d_y = gradient(Columns::all(&s.d_stream, h)).await?;
        let x = input(Columns::all(&s.attentions[l], q)).await?;
        let d_x = Columns::all(&s.d_attention, q);
        self.linear_weight(at(place::O), rows, d_y, x).await?;
        self.linear_input(at(place::O), rows, d_y, d_x, false)
            .await?;
        self.attend_backward(shape, &a.qkv, &s.d_attention, &s.d_qkv)
            .await?;
        self.rotate(shape, &s.d_qkv, true).await?;
        let d_qkv = gradient(Columns::all(&s.d_qkv, qkv_row(c))).await?;
        let x = input(Columns::all(&a.attention_in, h)).await?;
        for (place, first) in self.qkv() {
            let (d_y, d_x) = (d_qkv.from(first), Columns::all(&s.d_normed, h));
            self.linear_weight(at(place), rows, d_y, x).await?;
            self.linear_input(at(place), rows, d_y, d_x, first > 0)
                .await?;
        }
        let x = &s.inputs[l];
        self.norm_backward(at(place::ATTENTION_NORM), rows, x, &s.d_normed, true)
            .await
    }
}
