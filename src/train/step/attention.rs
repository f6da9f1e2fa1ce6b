//! Causal attention over whole sequences, forward and back.

use super::Trainer;
use super::parameters::in_block;
use super::product::{Columns, Factor};
use super::scratch::Shape;
use crate::backend::{Backend, kernel_for};
use crate::error::Result;
use crate::model::Rotary;
use crate::model::blueprint::{BlockTensor, HeadNorms, Output};
use crate::ops::attention::Rotation;
use crate::ops::train::{
    CausalHeads, FlashAttention, FlashAttentionBackwardKv, FlashAttentionBackwardKvCoop,
    FlashAttentionBackwardQ, FlashAttentionBackwardQCoop, FlashAttentionCoop,
};
use crate::ops::train::{RmsNormHeadsBackward, RmsNormHeadsWeightBackward, RopeInPlace};

impl<B: Backend> Trainer<B> {
    /// Rotates q and k, or their gradients back.
    pub(super) async fn rotate(
        &self,
        l: usize,
        shape: Shape,
        qkv: &B::Buffer,
        back: bool,
    ) -> Result<()> {
        let c = &self.config;
        let rotary = c.attention(l).rotary;
        let table = match (rotary, &self.scratch.local_rope) {
            (Rotary::None, _) => return Ok(()),
            (Rotary::Local, Some(local)) => local,
            _ => &self.scratch.rope,
        };
        let rope = RopeInPlace {
            tokens: shape.n_tokens(),
            heads: c.heads + 2 * c.kv_heads,
            rotated: c.heads + c.kv_heads,
            head_dim: c.head_dim,
            rotation: Rotation {
                width: c.rotary_dim(),
                pairs: c.blueprint().pairs,
            },
            length: shape.length,
            inverse: back,
        };
        self.backend.run(&rope, &[table, qkv]).await
    }

    /// The heads of a micro-batch in block `l`.
    fn heads(&self, l: usize, shape: Shape) -> CausalHeads {
        let c = &self.config;
        CausalHeads {
            n_seqs: shape.n_seqs,
            tokens: shape.length,
            heads: c.heads,
            kv_heads: c.kv_heads,
            head_dim: c.head_dim,
            complex: c.blueprint().complex,
            scale: c.score_scale(),
            window: c.attention(l).window,
            softcap: c.variant.score_cap,
        }
    }

    /// Whether these heads go through the matrix units, as products do.
    fn by_matrices(&self, heads: &CausalHeads) -> bool {
        self.scratch.halves.is_some()
            && heads.fit_matrices()
            && kernel_for::<FlashAttentionCoop>(self.backend.facts().features).is_some()
    }

    /// Normalizes queries and keys of `qkv`, which goes to `raw` as it was.
    pub(super) async fn normalize_heads(
        &self,
        l: usize,
        rows: usize,
        [qkv, raw]: [&B::Buffer; 2],
    ) -> Result<()> {
        let c = &self.config;
        let Some(names) = c.blueprint().head_norms else {
            return Ok(());
        };
        self.copy(rows * c.outputs(Output::Attention), qkv, raw)
            .await?;
        let [q, k] = self.head_norm_weights(l, names).await?;
        let norms = c.head_norms(names, rows);
        self.backend.run(&norms, &[qkv, q, k]).await
    }

    /// From the gradient of normalized queries and keys, in `d_qkv`, that of what they were before, which are in `raw` and are lost,
    /// and those of the norms.
    pub(super) async fn normalize_heads_backward(
        &self,
        l: usize,
        rows: usize,
        [raw, d_qkv]: [&B::Buffer; 2],
    ) -> Result<()> {
        let c = &self.config;
        let Some(names) = c.blueprint().head_norms else {
            return Ok(());
        };
        let [q, k] = self.head_norm_weights(l, names).await?;
        let norms = c.head_norms(names, rows);
        let back = RmsNormHeadsBackward(norms);
        self.backend.run(&back, &[raw, q, k, d_qkv]).await?;
        let [q, k] = [names.q, names.k].map(|norm| in_block(c, l, BlockTensor::Norm(norm)));
        let gradients = [raw, &self.tensors[q].gradient, &self.tensors[k].gradient];
        let back = RmsNormHeadsWeightBackward(norms);
        self.backend.run(&back, &gradients).await
    }

    /// What the norms of queries and of keys multiply by.
    async fn head_norm_weights(&self, l: usize, names: HeadNorms) -> Result<[&B::Buffer; 2]> {
        let index = |norm| in_block(&self.config, l, BlockTensor::Norm(norm));
        let q = self.norm_weight(index(names.q), 0).await?;
        Ok([q, self.norm_weight(index(names.k), 1).await?])
    }

    /// `out = softmax(q * k^T / sqrt(head_dim)) * v`, causal, for all heads; complex heads are divided by the root of their
    /// complex values. The logarithms of the sums of the softmax stay for the backward pass.
    pub(super) async fn attend(
        &self,
        l: usize,
        shape: Shape,
        qkv: &B::Buffer,
        out: &B::Buffer,
    ) -> Result<()> {
        let (heads, lse) = (self.heads(l, shape), &self.scratch.lses[l]);
        if !self.by_matrices(&heads) {
            let op = FlashAttention(heads);
            return self.backend.run(&op, &[qkv, out, lse]).await;
        }
        let qkv = Columns::all(qkv, heads.qkv_row());
        let qkv = self.factor(Factor::Left, shape.n_tokens(), qkv).await?;
        let op = FlashAttentionCoop(heads);
        self.backend.run(&op, &[qkv.buffer, out, lse]).await
    }

    /// Gradients of (rotated) q, k and v from that of the output.
    pub(super) async fn attend_backward(
        &self,
        l: usize,
        shape: Shape,
        qkv: &B::Buffer,
        d_out: &B::Buffer,
        d_qkv: &B::Buffer,
    ) -> Result<()> {
        let (s, heads, rows) = (&self.scratch, self.heads(l, shape), shape.n_tokens());
        let (out, lse, delta) = (&s.attentions[l], &s.lses[l], &s.delta);
        if !self.by_matrices(&heads) {
            let op = FlashAttentionBackwardQ(heads);
            let buffers = [qkv, d_out, out, lse, delta, d_qkv];
            self.backend.run(&op, &buffers).await?;
            let op = FlashAttentionBackwardKv(heads);
            let buffers = [qkv, d_out, lse, delta, d_qkv];
            return self.backend.run(&op, &buffers).await;
        }
        let qkv = Columns::all(qkv, heads.qkv_row());
        let qkv = self.factor(Factor::Left, rows, qkv).await?.buffer;
        let d_out = Columns::all(d_out, self.config.queries());
        let d_out = self.factor(Factor::Right, rows, d_out).await?.buffer;
        let op = FlashAttentionBackwardQCoop(heads);
        let buffers = [qkv, d_out, out, lse, delta, d_qkv];
        self.backend.run(&op, &buffers).await?;
        let op = FlashAttentionBackwardKvCoop(heads);
        let buffers = [qkv, d_out, lse, delta, d_qkv];
        self.backend.run(&op, &buffers).await
    }
}
