//! Causal attention over a KV cache, a workgroup for each token and head.

use super::Heads;
use super::host::Group;
use crate::ops::*;

mod cases;

/// Causal attention: a token sees the positions of its slot up to its own, or the last of them. [`Heads`] says what scores are,
/// and what is different for complex heads.
///
/// Bindings: `qkv` [tokens, (heads + 2 kv_heads) head_dim] f32, of which q is read; `rows`, the row table;
/// `k_cache`, `v_cache` [slots, capacity, kv_heads head_dim] of [`Kv`], where the tokens' own keys and values are already;
/// `out` [tokens, heads head_dim] f32. Tokens before `offset` in `qkv` and `out` are those of other dispatches.
#[derive(Debug, Clone)]
pub struct Attention(pub Heads);

params! {
    /// Uniform block of [`Attention`].
    pub struct AttentionParams {
        tokens: u32,
        heads: u32,
        kv_heads: u32,
        head_dim: u32,
        capacity: u32,
        scale: f32,
        window: u32,
        out_pitch: u32,
        out_gap: u32,
        offset: u32,
        table: u32,
        row: u32,
        slot: u32,
        position: u32,
    }
}

impl Op for Attention {
    const NAME: &'static str = "attention";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        attention / "attention",
        "softcap",
        "ring",
        "attend",
        "row_table"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("qkv", Elem::F32),
        read("rows", Elem::U32),
        read("k_cache", Elem::U32),
        read("v_cache", Elem::U32),
        write("out", Elem::F32),
    ];
    // In f32 a score of 64 is off by up to 1e-5, and its weight by as much of itself; exp adds 3 + 2 |x| ULP.
    const AGREE: Agree = Agree::Nmse(1e-10);
    type Params = AttentionParams;

    fn shape(&self) -> String {
        self.0.shape()
    }

    fn params(&self) -> AttentionParams {
        let [table, row, slot, position] = self.0.position_params();
        let [out_pitch, out_gap] = self.0.out_params(2);
        AttentionParams {
            tokens: self.0.tokens as u32,
            heads: self.0.heads as u32,
            kv_heads: self.0.kv_heads as u32,
            head_dim: self.0.head_dim as u32,
            capacity: self.0.capacity as u32,
            scale: self.0.scale,
            window: self.0.window_param(),
            out_pitch,
            out_gap,
            offset: self.0.offset as u32,
            table,
            row,
            slot,
            position,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("SOFTCAP", self.0.softcap.into()),
            ("RING", u32::from(self.0.wraps()).into()),
        ]
    }

    fn prelude(&self) -> &'static str {
        self.0.kv.prelude()
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.0.tokens * self.0.heads) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let h = &self.0;
        let (rows, cache) = (h.rows(), h.cache_words());
        vec![
            rows * h.qkv_row(),
            h.table_words(),
            cache,
            cache,
            rows * h.q_row(),
        ]
    }

    fn cost(&self) -> Cost {
        let h = &self.0;
        Cost {
            bytes: (8 * h.tokens * h.q_row() + h.cached_bytes()) as f64,
            ops: h.attention_ops(),
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let h = &self.0;
        let (qkv, rows): (&[f32], &[u32]) = (b.read(0), b.read(1));
        let caches: [&[u32]; 2] = [b.read(2), b.read(3)];
        let out: &mut [f32] = b.write(4);
        let d = h.head_dim;
        for token in 0..h.tokens {
            let (slot, position) = h.place(rows, token);
            let seen = h.seen(position);
            let cached = h.cached(caches, slot, seen.clone());
            for head in 0..h.heads {
                let q = &qkv[(h.offset + token) * h.qkv_row() + head * d..][..d];
                let kv = head / (h.heads / h.kv_heads) * d;
                let seen: Vec<_> = seen.clone().map(|t| cached.at(h, t, kv)).collect();
                let score = |[k, _]: &[&[f32]; 2]| {
                    let products = q.iter().zip(*k).map(|(&a, &b)| f64::from(a) * f64::from(b));
                    h.score(products.sum())
                };
                let scores: Vec<f64> = seen.iter().map(score).collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
                let total: f64 = weights.iter().sum();
                for j in 0..d {
                    let weighted = weights.iter().zip(&seen);
                    let sum: f64 = weighted.map(|(w, [_, v])| w * f64::from(v[j])).sum();
                    out[h.out_index((h.offset + token, head), j)] = (sum / total) as f32;
                }
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let h = &self.0;
        let (qkv, rows): (&[f32], &[u32]) = (b.read(0), b.read(1));
        let caches: [&[u32]; 2] = [b.read(2), b.read(3)];
        let heads = h.group();
        let mut outs = h.out_halves(b.write(4)).into_iter();
        let groups = 0..h.tokens * h.heads / heads;
        let items = groups.map(|i| (i * heads, outs.by_ref().take(heads).collect::<Vec<_>>()));
        let nanoseconds = h.nanoseconds(heads, h.most_seen());
        cpu::each_worth(items.collect(), nanoseconds, |(first, outs)| {
            let (token, first) = (first / h.heads, first % h.heads);
            let (slot, position) = h.place(rows, token);
            let (mut sums, mut ends) = (vec![0.0; heads * h.head_dim], vec![[0.0; 2]; heads]);
            let group = Group {
                token,
                first,
                heads,
            };
            let seen = (slot, h.seen(position));
            h.attend(group, seen, qkv, caches, (&mut sums, &mut ends));
            let sums = sums.chunks_exact(h.head_dim).zip(ends);
            for (halves, (sums, [_, total])) in outs.into_iter().zip(sums) {
                for (out, sum) in halves.into_iter().flatten().zip(sums) {
                    *out = sum / total;
                }
            }
        });
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
