//! Attention and its gradients in plain loops.

use super::{CausalHeads, Inputs};

/// The product of two slices of as many values.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let pairs = a.iter().zip(b);
    pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// A token and a position that it sees.
pub(super) struct Pair {
    /// Query head, counted through all sequences.
    pub head: usize,
    pub token: usize,
    pub position: usize,
    /// What the value is multiplied by.
    pub weight: f64,
    /// The gradient of the product of query and key.
    pub gradient: f64,
}

impl CausalHeads {
    /// What becomes of a product of query and key.
    fn score(&self, product: f64) -> f64 {
        let score = product * f64::from(self.scale);
        match f64::from(self.softcap) {
            cap if cap > 0.0 => cap * (score / cap).tanh(),
            _ => score,
        }
    }

    /// `sum d_out v` of a pair.
    fn d_weight(&self, x: &Inputs<'_>, head: usize, token: usize, value: usize) -> f64 {
        let each = |j| f64::from(x.d_out[self.out(head, token, j)]) * f64::from(x.qkv[value + j]);
        (0..self.head_dim).map(each).sum()
    }

    pub(super) fn reference(&self, qkv: &[f32], out: &mut [f32], lse: &mut [f32]) {
        let d = self.head_dim;
        for head in 0..self.n_seqs * self.heads {
            let kv = head / self.share();
            for token in 0..self.tokens {
                let query = &qkv[self.query(head, token)..][..d];
                let seen = self.seen(token);
                let score = |t| self.score(dot(query, &qkv[self.key(kv, t)..][..d]));
                let scores: Vec<f64> = seen.clone().map(score).collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = scores.iter().map(|s| (s - top).exp()).sum();
                lse[head * self.tokens + token] = (top + total.ln()) as f32;
                for j in 0..d {
                    let each = scores.iter().zip(seen.clone());
                    let each =
                        each.map(|(s, t)| (s - top).exp() * f64::from(qkv[self.value(kv, t) + j]));
                    out[self.out(head, token, j)] = (each.sum::<f64>() / total) as f32;
                }
            }
        }
    }

    /// `sum out d_out` of every token, for each head.
    pub(super) fn deltas(&self, out: &[f32], d_out: &[f32], delta: &mut [f32]) {
        for (i, delta) in delta.iter_mut().take(self.row_values()).enumerate() {
            let (head, token) = (i / self.tokens, i % self.tokens);
            let places = (0..self.head_dim).map(|j| self.out(head, token, j));
            let each = places.map(|at| f64::from(out[at]) * f64::from(d_out[at]));
            *delta = each.sum::<f64>() as f32;
        }
    }

    /// All pairs, those of a token one after the other.
    pub(super) fn each_pair(&self, x: &Inputs<'_>, mut visit: impl FnMut(Pair)) {
        let (d, cap) = (self.head_dim, f64::from(self.softcap));
        for head in 0..self.n_seqs * self.heads {
            let kv = head / self.share();
            for token in 0..self.tokens {
                let row = head * self.tokens + token;
                let query = &x.qkv[self.query(head, token)..][..d];
                for position in self.seen(token) {
                    let score = self.score(dot(query, &x.qkv[self.key(kv, position)..][..d]));
                    let weight = (score - f64::from(x.lse[row])).exp();
                    let slope = match cap > 0.0 {
                        true => 1.0 - (score / cap).powi(2),
                        false => 1.0,
                    };
                    let d_weight = self.d_weight(x, head, token, self.value(kv, position));
                    let gradient = slope * weight * (d_weight - f64::from(x.delta[row]));
                    visit(Pair {
                        head,
                        token,
                        position,
                        weight,
                        gradient: gradient * f64::from(self.scale),
                    });
                }
            }
        }
    }

    pub(super) fn reference_q(&self, x: &Inputs<'_>, d_qkv: &mut [f32]) {
        let d = self.head_dim;
        let mut sums = vec![0.0; self.qkv_values()];
        self.each_pair(x, |pair| {
            let to = self.query(pair.head, pair.token);
            let key = self.key(pair.head / self.share(), pair.position);
            for j in 0..d {
                sums[to + j] += pair.gradient * f64::from(x.qkv[key + j]);
            }
        });
        self.put(&sums, d_qkv, 0..self.heads);
    }

    pub(super) fn reference_kv(&self, x: &Inputs<'_>, d_qkv: &mut [f32]) {
        let mut sums = vec![0.0; self.qkv_values()];
        self.each_pair(x, |pair| {
            let kv = pair.head / self.share();
            let query = self.query(pair.head, pair.token);
            let [key, value] = [self.key(kv, pair.position), self.value(kv, pair.position)];
            for j in 0..self.head_dim {
                let d_out = x.d_out[self.out(pair.head, pair.token, j)];
                sums[key + j] += pair.gradient * f64::from(x.qkv[query + j]);
                sums[value + j] += pair.weight * f64::from(d_out);
            }
        });
        self.put(&sums, d_qkv, self.heads..self.heads + 2 * self.kv_heads);
    }

    /// Writes some columns of heads of all rows.
    fn put(&self, sums: &[f64], d_qkv: &mut [f32], columns: std::ops::Range<usize>) {
        let (row, d) = (self.qkv_row(), self.head_dim);
        let rows = sums.chunks_exact(row).zip(d_qkv.chunks_exact_mut(row));
        for (sums, d_qkv) in rows {
            let columns = columns.start * d..columns.end * d;
            for (to, sum) in d_qkv[columns.clone()].iter_mut().zip(&sums[columns]) {
                *to = *sum as f32;
            }
        }
    }
}
