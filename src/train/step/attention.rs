//! Causal attention over whole sequences, forward and back, some heads at a time.

use super::Trainer;
use super::parameters::in_block;
use super::scratch::{Portion, Shape, score_stride};
use crate::backend::Backend;
use crate::error::Result;
use crate::model::Rotary;
use crate::model::blueprint::{BlockTensor, HeadNorms, Output};
use crate::ops::attention::Rotation;
use crate::ops::train::{Causal, MatmulTrain, MatmulTrainCoop, MatrixView};
use crate::ops::train::{RmsNormHeadsBackward, RmsNormHeadsWeightBackward, RopeInPlace};
use crate::ops::train::{Scores, Softmax, SoftmaxBackward};

/// Both factors are in f32.
const WIDE: [bool; 2] = [false; 2];

/// Columns of heads that lie together both in their values and in what attention gives.
struct Piece {
    columns: usize,
    /// In rows of q, k and v.
    v: MatrixView,
    /// In rows of attention outputs.
    out: MatrixView,
}

/// Heads of some sequences, and where their values lie.
struct Heads {
    length: usize,
    head_dim: usize,
    /// What scores are multiplied by.
    scale: f32,
    /// Positions that a token sees at most.
    window: usize,
    /// Bound of scores; 0 for none.
    softcap: f32,
    n_seqs: usize,
    kv_heads: usize,
    /// Query heads of one key/value head.
    group: usize,
    /// In rows of q, k and v.
    q: MatrixView,
    k: MatrixView,
    /// All columns, or those of the real and those of the imaginary half of complex heads, which lie together in q, k and v but
    /// not in attention outputs.
    pieces: Vec<Piece>,
    weights: MatrixView,
}

impl Heads {
    /// Query heads.
    fn queries(&self) -> usize {
        self.kv_heads * self.group
    }

    fn scores(&self) -> Scores {
        Scores {
            batch: self.n_seqs * self.queries(),
            tokens: self.length,
            stride: self.weights.stride,
            scale: self.scale,
            window: self.window,
            softcap: self.softcap,
        }
    }

    /// A product for every query head of every sequence; `b` is shared by those of one key/value head.
    fn each(&self, size: [usize; 3], [a, b, c]: [MatrixView; 3], causal: Causal) -> MatmulTrain {
        MatmulTrain {
            sequences: self.n_seqs,
            heads: self.queries(),
            share: self.group,
            causal,
            window: self.window,
            ..MatmulTrain::new(size, a, b, c)
        }
    }

    /// `scores = a * b^T` over so many values of a head.
    fn inner(&self, columns: usize, a: MatrixView, b: MatrixView) -> MatmulTrain {
        let size = [self.length, self.length, columns];
        self.each(size, [a, b, self.weights], Causal::Result)
    }

    /// `c = weights * b` of so many columns, for every query head.
    fn outer(&self, columns: usize, b: MatrixView, c: MatrixView) -> MatmulTrain {
        let size = [self.length, columns, self.length];
        self.each(size, [self.weights, b.transposed(), c], Causal::Lower)
    }

    /// `c (+)= weights^T * b` of so many columns, for the query head `member` of every key/value head.
    fn gathered(&self, member: usize, columns: usize, b: MatrixView, c: MatrixView) -> MatmulTrain {
        let one = |place: MatrixView| MatrixView {
            offset: place.offset + member * place.head_stride,
            head_stride: place.head_stride * self.group,
            ..place
        };
        let size = [self.length, columns, self.length];
        MatmulTrain {
            sequences: self.n_seqs,
            heads: self.kv_heads,
            causal: Causal::Upper,
            window: self.window,
            accumulate: member > 0,
            ..MatmulTrain::new(size, one(self.weights).transposed(), one(b).transposed(), c)
        }
    }
}

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

    /// The heads of a micro-batch in block `l`, in portions.
    fn portions(&self, l: usize, shape: Shape) -> Vec<Heads> {
        let c = &self.config;
        let portion = Portion::of(c, shape, self.backend.facts().max_words);
        let group = c.heads / c.kv_heads;
        let (d, length, row) = (c.head_dim, shape.length, c.outputs(Output::Attention));
        let square = length * score_stride(c, length);
        let pieces = if c.blueprint().complex { 2 } else { 1 };
        let columns = d / pieces;
        let mut all = Vec::new();
        for seq in (0..shape.n_seqs).step_by(portion.n_seqs) {
            for kv in (0..c.kv_heads).step_by(portion.kv_heads) {
                let kv_heads = portion.kv_heads.min(c.kv_heads - kv);
                let of = |stride: usize, first: usize, head_stride: usize| MatrixView {
                    offset: seq * length * stride + first,
                    stride,
                    head_stride,
                    sequence_stride: length * stride,
                    transposed: false,
                };
                let [k, v] = [c.heads, c.heads + c.kv_heads].map(|heads| (heads + kv) * d);
                let pieces = (0..pieces).map(|piece| Piece {
                    columns,
                    v: of(row, v + piece * columns, d),
                    out: of(
                        c.queries(),
                        (piece * c.heads + kv * group) * columns,
                        columns,
                    ),
                });
                all.push(Heads {
                    length,
                    head_dim: d,
                    scale: c.score_scale(),
                    window: c.attention(l).window,
                    softcap: c.variant.score_cap,
                    n_seqs: portion.n_seqs.min(shape.n_seqs - seq),
                    kv_heads,
                    group,
                    q: of(row, kv * group * d, d),
                    k: of(row, k, d),
                    pieces: pieces.collect(),
                    weights: MatrixView {
                        offset: 0,
                        stride: score_stride(c, length),
                        head_stride: square,
                        sequence_stride: kv_heads * group * square,
                        transposed: false,
                    },
                });
            }
        }
        all
    }

    /// A product of factors in f32, by matrix units where products go there and this one fits: halves of heads may be too narrow.
    async fn wide_product(&self, op: MatmulTrain, buffers: [&B::Buffer; 3]) -> Result<()> {
        match MatmulTrainCoop::fits(&op) {
            true => self.product(op, buffers, WIDE).await,
            false => self.backend.run(&op, &buffers).await,
        }
    }

    /// Attention weights of some heads, into `scratch.scores`.
    async fn attention_weights(&self, heads: &Heads, qkv: &B::Buffer) -> Result<()> {
        let s = &self.scratch;
        let scores = heads.inner(heads.head_dim, heads.q, heads.k);
        self.wide_product(scores, [qkv, qkv, &s.scores]).await?;
        self.backend
            .run(&Softmax(heads.scores()), &[&s.scores])
            .await
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
    /// complex values.
    pub(super) async fn attend(
        &self,
        l: usize,
        shape: Shape,
        qkv: &B::Buffer,
        out: &B::Buffer,
    ) -> Result<()> {
        for heads in self.portions(l, shape) {
            self.attention_weights(&heads, qkv).await?;
            for piece in &heads.pieces {
                let values = heads.outer(piece.columns, piece.v, piece.out);
                self.wide_product(values, [&self.scratch.scores, qkv, out])
                    .await?;
            }
        }
        Ok(())
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
        let s = &self.scratch;
        for heads in self.portions(l, shape) {
            self.attention_weights(&heads, qkv).await?;
            for (i, piece) in heads.pieces.iter().enumerate() {
                let (columns, v, out) = (piece.columns, piece.v, piece.out);
                for member in 0..heads.group {
                    let d_v = heads.gathered(member, columns, out, v);
                    self.wide_product(d_v, [&s.scores, d_out, d_qkv]).await?;
                }
                let d_weights = MatmulTrain {
                    accumulate: i > 0,
                    ..heads.inner(columns, out, v)
                };
                self.wide_product(d_weights, [d_out, qkv, &s.d_scores])
                    .await?;
            }
            let back = SoftmaxBackward(heads.scores());
            self.backend.run(&back, &[&s.scores, &s.d_scores]).await?;
            let d_q = heads.outer(heads.head_dim, heads.k, heads.q);
            self.wide_product(d_q, [&s.d_scores, qkv, d_qkv]).await?;
            for member in 0..heads.group {
                let d_k = heads.gathered(member, heads.head_dim, heads.q, heads.k);
                self.wide_product(d_k, [&s.d_scores, qkv, d_qkv]).await?;
            }
        }
        Ok(())
    }
}
