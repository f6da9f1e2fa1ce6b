//! Gradients of attention against finite differences in f64.

use super::exact;
use super::gradient::{differences, dot, relative, run, wide};
use fairy2i_gpu::ops::attention::default_scale;
use fairy2i_gpu::ops::noise;
use fairy2i_gpu::ops::train::{
    CausalHeads, FlashAttention, FlashAttentionBackwardKv, FlashAttentionBackwardQ,
};

#[test]
fn attention() {
    for complex in [false, true] {
        for (window, softcap) in [(usize::MAX, 0.0), (3, 0.0), (usize::MAX, 1.5), (2, 3.0)] {
            attention_of(CausalHeads {
                n_seqs: 2,
                tokens: 6,
                heads: 4,
                kv_heads: 2,
                head_dim: 4,
                complex,
                scale: default_scale(4, complex),
                window,
                softcap,
            });
        }
    }
}

/// What the heads give for rows of queries, keys and values.
fn attended(h: &CausalHeads, qkv: &[f64]) -> Vec<f64> {
    let (d, row) = (h.head_dim, h.qkv_row());
    let mut out = vec![0.0; h.n_seqs * h.tokens * h.heads * d];
    for token in 0..h.n_seqs * h.tokens {
        let (first, i) = (token / h.tokens * h.tokens, token % h.tokens);
        let seen: Vec<_> = ((i + 1).saturating_sub(h.window)..=i).collect();
        for head in 0..h.heads {
            let kv = h.heads + head / (h.heads / h.kv_heads);
            let at = |t: usize, column: usize| &qkv[t * row + column * d..][..d];
            let scores = seen.iter().map(|t| {
                let pairs = at(token, head).iter().zip(at(first + t, kv));
                let score = pairs.map(|(q, k)| q * k).sum::<f64>() * f64::from(h.scale);
                match f64::from(h.softcap) {
                    0.0 => score,
                    cap => cap * (score / cap).tanh(),
                }
            });
            let weights = exact::softmax(&scores.collect::<Vec<_>>(), 1.0);
            for j in 0..d {
                let place = match (h.complex, j < d / 2) {
                    (false, _) => head * d + j,
                    (true, true) => head * d / 2 + j,
                    (true, false) => (h.heads + head) * d / 2 + j - d / 2,
                };
                let values = seen.iter().map(|t| at(first + t, kv + h.kv_heads)[j]);
                out[token * h.heads * d + place] =
                    values.zip(&weights).map(|(v, weight)| v * weight).sum();
            }
        }
    }
    out
}

fn attention_of(heads: CausalHeads) {
    let rows = heads.n_seqs * heads.tokens;
    let outs = rows * heads.heads * heads.head_dim;
    let (qkv, d_out) = (noise(6, rows * heads.qkv_row(), 2.0), noise(7, outs, 1.0));
    let (room, one) = (vec![0.0; outs], vec![0.0; rows * heads.heads]);
    let zeros = vec![0.0; qkv.len()];
    let forward = FlashAttention(heads);
    let [out, lse] = [1, 2].map(|result| run(&forward, &[&qkv, &room, &one], result));
    let error = relative(&out, &attended(&heads, &wide(&qkv)));
    assert!(error < 1e-6, "{heads:?}: {error:e}");
    let want = differences(&wide(&qkv), |qkv| dot(&attended(&heads, qkv), &d_out));
    let back = FlashAttentionBackwardQ(heads);
    let buffers: [&[f32]; 6] = [&qkv, &d_out, &out, &lse, &one, &zeros];
    let [delta, d_q] = [4, 5].map(|result| run(&back, &buffers, result));
    let back = FlashAttentionBackwardKv(heads);
    let got = run(&back, &[&qkv, &d_out, &lse, &delta, &d_q], 4);
    let error = relative(&got, &want);
    assert!(error < 1e-6, "{heads:?}: {error:e}");
}
