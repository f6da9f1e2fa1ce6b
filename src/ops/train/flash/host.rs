//! Attention and its gradients on the host: blocks of rows, whose scores alone are in memory.

use super::{CausalHeads, Inputs};
use crate::ops::cpu;
use crate::ops::train::{MatmulTrain, MatrixView};
use std::ops::Range;

/// Tokens or positions that a thread takes at once.
const ROWS: usize = 64;
/// Tokens whose scores with a block of positions are in memory at a time.
const TOKENS: usize = 256;

/// Columns of a head that lie together, in `qkv` and in `out`: all, or one half of a complex head.
struct Piece {
    /// The first of them.
    first: usize,
    columns: usize,
}

/// Adds a product to sums in f64.
fn add(size: [usize; 3], factors: [(&[f32], MatrixView); 2], sums: &mut [f64]) {
    let [(a, a_view), (b, b_view)] = factors;
    MatmulTrain::new(size, a_view, b_view, MatrixView::rows(size[1])).block([a, b], 0, sums);
}

impl CausalHeads {
    fn pieces(&self) -> Vec<Piece> {
        let columns = self.head_dim / if self.complex { 2 } else { 1 };
        let firsts = (0..self.head_dim).step_by(columns);
        firsts.map(|first| Piece { first, columns }).collect()
    }

    /// Rows of `qkv` from a value on.
    fn in_qkv(&self, offset: usize) -> MatrixView {
        MatrixView {
            offset,
            ..MatrixView::rows(self.qkv_row())
        }
    }

    /// Rows of `out` from a value on.
    fn in_out(&self, offset: usize) -> MatrixView {
        MatrixView {
            offset,
            ..MatrixView::rows(self.heads * self.head_dim)
        }
    }

    /// About how long it takes to go through `positions` positions for a block of rows.
    fn nanoseconds(&self, positions: usize) -> usize {
        ROWS * positions * (2 + self.head_dim / 4)
    }

    /// Calls `work(head, first, row, sums)` for every block of rows of each of the heads of all sequences, of which `rows` has one
    /// value a row and `sums` `width` values.
    fn each_block(
        &self,
        (rows, sums, width): (&mut [f32], &mut [f64], usize),
        work: impl Fn(usize, usize, &mut [f32], &mut [f64]) + Sync + Send,
    ) {
        let heads = rows
            .chunks_mut(self.tokens)
            .zip(sums.chunks_mut(self.tokens * width));
        let blocks = heads.enumerate().flat_map(|(head, (rows, sums))| {
            let blocks = rows.chunks_mut(ROWS).zip(sums.chunks_mut(ROWS * width));
            let blocks = blocks.enumerate();
            blocks.map(move |(i, (rows, sums))| (head, i * ROWS, rows, sums))
        });
        let nanoseconds = self.nanoseconds(self.seen(self.tokens / 2).len());
        cpu::each_worth(
            blocks.collect(),
            nanoseconds,
            |(head, first, rows, sums)| {
                work(head, first, rows, sums);
            },
        );
    }

    pub(super) fn attend(&self, qkv: &[f32], out: &mut [f32], lse: &mut [f32]) {
        let d = self.head_dim;
        let mut sums = vec![0.0; self.out_values()];
        let lse = &mut lse[..self.row_values()];
        self.each_block((lse, &mut sums, d), |head, first, lse, sums| {
            self.attend_block(qkv, (head, first), lse, sums);
        });
        for (i, sums) in sums.chunks_exact(d).enumerate() {
            let (head, token) = (i / self.tokens, i % self.tokens);
            for (j, sum) in sums.iter().enumerate() {
                out[self.out(head, token, j)] = *sum as f32;
            }
        }
    }

    /// What one head gives for some tokens.
    fn attend_block(
        &self,
        qkv: &[f32],
        (head, first): (usize, usize),
        lse: &mut [f32],
        sums: &mut [f64],
    ) {
        let (d, rows, kv) = (self.head_dim, lse.len(), head / self.share());
        let begin = self.seen(first).start;
        let n = first + rows - begin;
        let mut scores = vec![0.0; rows * n];
        let q = (qkv, self.in_qkv(self.query(head, first)));
        let k = (qkv, self.in_qkv(self.key(kv, begin)));
        add([rows, n, d], [q, k], &mut scores);
        let mut weights = vec![0.0f32; rows * n];
        let each = weights.chunks_exact_mut(n).zip(scores.chunks_exact(n));
        for (i, (lse, (weights, scores))) in lse.iter_mut().zip(each).enumerate() {
            let seen = self.seen(first + i);
            let seen = seen.start - begin..seen.end - begin;
            let (weights, scores) = (&mut weights[seen.clone()], &scores[seen]);
            for (weight, score) in weights.iter_mut().zip(scores) {
                *weight = *score as f32;
            }
            *lse = match self.softcap > 0.0 {
                true => {
                    cpu::soft_capped(self.scale, self.softcap, weights);
                    cpu::softmax(1.0, weights)
                }
                false => cpu::softmax(self.scale, weights),
            };
        }
        let values = self.in_qkv(self.value(kv, begin)).transposed();
        let weights = (&weights[..], MatrixView::rows(n));
        add([rows, d, n], [weights, (qkv, values)], sums);
    }

    /// Weights of some tokens for some positions, and the gradients of the products of their queries and keys.
    fn pairs(
        &self,
        x: &Inputs<'_>,
        head: usize,
        tokens: Range<usize>,
        positions: Range<usize>,
    ) -> [Vec<f32>; 2] {
        let (m, n, kv) = (tokens.len(), positions.len(), head / self.share());
        let [mut scores, mut d_weights] = [vec![0.0; m * n], vec![0.0; m * n]];
        let q = (x.qkv, self.in_qkv(self.query(head, tokens.start)));
        let k = (x.qkv, self.in_qkv(self.key(kv, positions.start)));
        add([m, n, self.head_dim], [q, k], &mut scores);
        for Piece { first, columns } in self.pieces() {
            let out = (x.d_out, self.in_out(self.out(head, tokens.start, first)));
            let value = self.in_qkv(self.value(kv, positions.start) + first);
            add([m, n, columns], [out, (x.qkv, value)], &mut d_weights);
        }
        let [mut weights, mut gradients] = [vec![0.0f32; m * n], vec![0.0f32; m * n]];
        for (i, token) in tokens.enumerate() {
            let seen = self.seen(token);
            let seen = seen.start.max(positions.start)..seen.end.min(positions.end);
            if seen.is_empty() {
                continue;
            }
            let row = head * self.tokens + token;
            let columns = seen.start - positions.start..seen.end - positions.start;
            let columns = i * n + columns.start..i * n + columns.end;
            let weights = &mut weights[columns.clone()];
            for (weight, score) in weights.iter_mut().zip(&scores[columns.clone()]) {
                *weight = *score as f32;
            }
            let others = &d_weights[columns.clone()];
            self.weigh(
                (x.lse[row], x.delta[row]),
                weights,
                others,
                &mut gradients[columns],
            );
        }
        [weights, gradients]
    }

    /// Products of a query with keys become weights; `gradients` are those of these products.
    fn weigh(
        &self,
        (lse, delta): (f32, f32),
        weights: &mut [f32],
        d_weights: &[f64],
        gradients: &mut [f32],
    ) {
        if self.softcap > 0.0 {
            cpu::soft_capped(self.scale, self.softcap, weights);
        } else {
            weights.iter_mut().for_each(|score| *score *= self.scale);
        }
        let each = weights.iter_mut().zip(d_weights).zip(gradients);
        for ((weight, d_weight), gradient) in each {
            let slope = match self.softcap > 0.0 {
                true => self.scale * (1.0 - (*weight / self.softcap).powi(2)),
                false => self.scale,
            };
            *weight = cpu::exp(*weight - lse);
            *gradient = slope * *weight * (*d_weight - f64::from(delta)) as f32;
        }
    }

    /// `sum out d_out` of every token, for each head.
    pub(super) fn deltas_in_lanes(&self, out: &[f32], d_out: &[f32], delta: &mut [f32]) {
        let pieces = self.pieces();
        for (i, delta) in delta.iter_mut().take(self.row_values()).enumerate() {
            let first = |piece: &Piece| self.out(i / self.tokens, i % self.tokens, piece.first);
            let sum = |piece: &Piece| {
                let [a, b] = [out, d_out].map(|x| &x[first(piece)..][..piece.columns]);
                cpu::dot(a, b)
            };
            *delta = pieces.iter().map(sum).sum();
        }
    }

    pub(super) fn attend_backward_q(&self, x: &Inputs<'_>, d_qkv: &mut [f32]) {
        let d = self.head_dim;
        let mut sums = vec![0.0; self.out_values()];
        let mut rows = vec![0.0; self.row_values()];
        self.each_block((&mut rows, &mut sums, d), |head, first, rows, sums| {
            let end = first + rows.len();
            let begin = self.seen(first).start;
            let [_, gradients] = self.pairs(x, head, first..end, begin..end);
            let keys = self.in_qkv(self.key(head / self.share(), begin));
            let gradients = (&gradients[..], MatrixView::rows(end - begin));
            let size = [rows.len(), d, end - begin];
            add(size, [gradients, (x.qkv, keys.transposed())], sums);
        });
        for (i, sums) in sums.chunks_exact(d).enumerate() {
            let to = self.query(i / self.tokens, i % self.tokens);
            put(&mut d_qkv[to..][..d], sums);
        }
    }

    pub(super) fn attend_backward_kv(&self, x: &Inputs<'_>, d_qkv: &mut [f32]) {
        let d = self.head_dim;
        let keys = self.rows() * self.kv_heads;
        let mut sums = vec![0.0; 2 * keys * d];
        let mut rows = vec![0.0; keys];
        self.each_block((&mut rows, &mut sums, 2 * d), |kv, first, rows, sums| {
            let (d_k, d_v) = sums.split_at_mut(rows.len() * d);
            self.backward_block(x, kv, first..first + rows.len(), [d_k, d_v]);
        });
        for (kv, sums) in sums.chunks_exact(2 * d * self.tokens).enumerate() {
            for (block, sums) in sums.chunks(2 * d * ROWS).enumerate() {
                let (d_k, d_v) = sums.split_at(sums.len() / 2);
                let each = d_k.chunks_exact(d).zip(d_v.chunks_exact(d));
                for (i, (d_k, d_v)) in each.enumerate() {
                    let position = block * ROWS + i;
                    put(&mut d_qkv[self.key(kv, position)..][..d], d_k);
                    put(&mut d_qkv[self.value(kv, position)..][..d], d_v);
                }
            }
        }
    }

    /// Adds to the gradients of some keys and values of one head.
    fn backward_block(
        &self,
        x: &Inputs<'_>,
        kv: usize,
        positions: Range<usize>,
        [d_k, d_v]: [&mut [f64]; 2],
    ) {
        let (d, n) = (self.head_dim, positions.len());
        let pieces = self.pieces();
        let mut sums: Vec<_> = pieces.iter().map(|p| vec![0.0; n * p.columns]).collect();
        for head in kv * self.share()..(kv + 1) * self.share() {
            let seeing = self.seeing(positions.start, positions.end - 1);
            for start in seeing.clone().step_by(TOKENS) {
                let tokens = start..seeing.end.min(start + TOKENS);
                let m = tokens.len();
                let both = self.pairs(x, head, tokens, positions.clone());
                let [weights, gradients] = &both;
                let transposed = MatrixView::rows(n).transposed();
                let queries = self.in_qkv(self.query(head, start)).transposed();
                let factors = [(&gradients[..], transposed), (x.qkv, queries)];
                add([n, d, m], factors, d_k);
                for (piece, sums) in pieces.iter().zip(&mut sums) {
                    let out = self.in_out(self.out(head, start, piece.first)).transposed();
                    let factors = [(&weights[..], transposed), (x.d_out, out)];
                    add([n, piece.columns, m], factors, sums);
                }
            }
        }
        for (piece, sums) in pieces.iter().zip(&sums) {
            let rows = d_v
                .chunks_exact_mut(d)
                .zip(sums.chunks_exact(piece.columns));
            rows.for_each(|(row, sums)| row[piece.first..][..piece.columns].copy_from_slice(sums));
        }
    }
}

fn put(to: &mut [f32], sums: &[f64]) {
    for (to, sum) in to.iter_mut().zip(sums) {
        *to = *sum as f32;
    }
}
