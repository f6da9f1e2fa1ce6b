//! A LLaMA in f64, forward only and as plainly as it can be written: what finite differences are taken of.

use fairy2i_gpu::model::{Config, rope};
use fairy2i_gpu::ops::norm::Rms;
use std::collections::HashMap;

const EMBED: &str = "model.embed_tokens.weight";

/// Parameters by name, row-major.
pub type Parameters = HashMap<String, Vec<f64>>;

/// `x W^T` for rows `x` of `columns` values.
fn linear(x: &[f64], w: &[f64], columns: usize) -> Vec<f64> {
    let row = |x: &[f64]| -> Vec<f64> {
        let dot = |w: &[f64]| x.iter().zip(w).map(|(a, b)| a * b).sum();
        w.chunks(columns).map(dot).collect()
    };
    x.chunks(columns).flat_map(row).collect()
}

/// RMS norm of every row.
pub fn norm(x: &[f64], weight: &[f64], rms: Rms) -> Vec<f64> {
    let row = |x: &[f64]| -> Vec<f64> {
        let mean = x.iter().map(|v| v * v).sum::<f64>() / rms.count(x.len()) as f64;
        let eps = f64::from(rms.eps);
        let scaled = x.iter().zip(weight);
        scaled.map(|(v, w)| v / (mean + eps).sqrt() * w).collect()
    };
    x.chunks(weight.len()).flat_map(row).collect()
}

/// Rotates the heads of one token at `position`.
fn rotate(heads: &mut [f64], config: &Config, position: usize) {
    let (d, half) = (config.head_dim, config.head_dim / 2);
    // the angles of the device are rounded to f32
    let table = rope::trained_table(&config.rope, d, position + 1);
    let turns = &table[position * d..];
    for head in heads.chunks_mut(d) {
        for j in 0..half {
            let (cos, sin) = (f64::from(turns[2 * j]), f64::from(turns[2 * j + 1]));
            let (a, b) = (head[j], head[j + half]);
            head[j] = a * cos - b * sin;
            head[j + half] = b * cos + a * sin;
        }
    }
}

/// `softmax(scale x)`.
pub fn softmax(x: &[f64], scale: f64) -> Vec<f64> {
    let top = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = x.iter().map(|v| (scale * (v - top)).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|w| w / total).collect()
}

/// Causal attention of one text from rows of rotated q, and of k and v.
fn attention(q: &[f64], k: &[f64], v: &[f64], c: &Config) -> Vec<f64> {
    let (d, row, kv_row) = (c.head_dim, c.heads * c.head_dim, c.kv_heads * c.head_dim);
    let mut out = vec![0.0; q.len()];
    for i in 0..q.len() / row {
        for head in 0..c.heads {
            let kv = head / (c.heads / c.kv_heads) * d;
            let q = &q[i * row + head * d..][..d];
            let key = |t: usize| &k[t * kv_row + kv..][..d];
            let dot = |t: usize| q.iter().zip(key(t)).map(|(a, b)| a * b).sum();
            let scores: Vec<f64> = (0..=i).map(dot).collect();
            for (t, weight) in softmax(&scores, (d as f64).powf(-0.5)).iter().enumerate() {
                for j in 0..d {
                    out[i * row + head * d + j] += weight * v[t * kv_row + kv + j];
                }
            }
        }
    }
    out
}

/// `conj(a) * up` with `a = (re(gate)^2, im(gate)^2)`, or 0 where both parts of the gate are negative.
pub fn squared_gated(gate: [f64; 2], up: [f64; 2]) -> [f64; 2] {
    let a = match gate {
        [re, im] if re < 0.0 && im < 0.0 => [0.0; 2],
        parts => parts.map(|part| part * part),
    };
    [a[0] * up[0] + a[1] * up[1], a[0] * up[1] - a[1] * up[0]]
}

/// `silu(gate) up`.
pub fn gated(gate: f64, up: f64) -> f64 {
    gate / (1.0 + (-gate).exp()) * up
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// One block on one text.
pub fn block(x: &mut [f64], p: &Parameters, l: usize, c: &Config) {
    let weight = |name: &str| &p[&format!("model.layers.{l}.{name}.weight")][..];
    let rms = c.rms();
    let n = norm(x, weight("input_layernorm"), rms);
    let mut q = linear(&n, weight("self_attn.q_proj"), c.hidden);
    let mut k = linear(&n, weight("self_attn.k_proj"), c.hidden);
    let v = linear(&n, weight("self_attn.v_proj"), c.hidden);
    let (q_row, kv_row) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
    for position in 0..x.len() / c.hidden {
        rotate(&mut q[position * q_row..][..q_row], c, position);
        rotate(&mut k[position * kv_row..][..kv_row], c, position);
    }
    let attended = attention(&q, &k, &v, c);
    add(x, &linear(&attended, weight("self_attn.o_proj"), q_row));
    let n = norm(x, weight("post_attention_layernorm"), rms);
    let gate = linear(&n, weight("mlp.gate_proj"), c.hidden);
    let up = linear(&n, weight("mlp.up_proj"), c.hidden);
    let inner: Vec<f64> = gate.iter().zip(&up).map(|(&g, &u)| gated(g, u)).collect();
    add(x, &linear(&inner, weight("mlp.down_proj"), c.intermediate));
}

/// Sum of the losses of one text.
pub fn loss(tokens: &[u32], labels: &[i32], p: &Parameters, c: &Config) -> f64 {
    let row = |t: &u32| p[EMBED][*t as usize * c.hidden..][..c.hidden].to_vec();
    let mut x: Vec<f64> = tokens.iter().flat_map(row).collect();
    for l in 0..c.layers {
        block(&mut x, p, l, c);
    }
    let n = norm(&x, &p["model.norm.weight"], c.rms());
    let head = if c.tied { EMBED } else { "lm_head.weight" };
    let logits = linear(&n, &p[head], c.hidden);
    let rows = logits.chunks(c.vocab).zip(&labels[1..]);
    rows.filter(|(_, label)| **label >= 0)
        .map(|(logits, &label)| -softmax(logits, 1.0)[label as usize].ln())
        .sum()
}
