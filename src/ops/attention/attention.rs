//! Causal attention of a step over a KV cache, a workgroup a row and head.

use crate::ops::*;
use bytemuck::Zeroable;

/// Largest head the attention kernel takes: one invocation per value.
pub const LARGEST_HEAD: usize = 256;

/// Shape of a step of attention, shared by [`super::Rope`] and [`Attention`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Tokens in this step.
    pub rows: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Values per head; even, at most [`LARGEST_HEAD`].
    pub head_dim: usize,
    /// Position of row 0: tokens in the cache before this step.
    pub position: usize,
    /// How the caches keep their values.
    pub kv: Kv,
    /// Cache row of the text's position 0: several texts may share a buffer.
    pub first: usize,
    /// Row of `qkv` and `out` that row 0 is: several sequences, each with a step of its own, may share a pass.
    pub offset: usize,
}

impl Heads {
    /// Values in a row of q, k and v together.
    pub fn qkv_row(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Values in a row of a cache.
    pub fn cache_row(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Words the caches must at least have.
    pub(in crate::ops) fn cache_words(&self) -> usize {
        self.kv
            .words((self.first + self.positions()) * self.cache_row())
    }

    /// Positions that are known after this step.
    pub fn positions(&self) -> usize {
        self.position + self.rows
    }
}

/// (cos, sin) for `positions` positions of heads of `head_dim` values, from noise.
pub(in crate::ops) fn noise_turns(positions: usize, head_dim: usize) -> Vec<f32> {
    let angles = noise(41, positions * head_dim / 2, 3.15);
    angles.iter().flat_map(|a| [a.cos(), a.sin()]).collect()
}

/// Causal attention: row `i` sees positions `0..=position + i`. Scores are scaled by `head_dim^-1/2`.
///
/// Bindings: `qkv` [rows, (heads + 2 kv_heads) head_dim] f32, of which q is read; `k_cache`, `v_cache`
/// [context, kv_heads head_dim] f32; `out` [rows, heads head_dim] f32.
#[derive(Debug, Clone)]
pub struct Attention(pub Heads);

/// Uniform block of [`Attention`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct AttentionParams {
    rows: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    position: u32,
    scale: f32,
    first: u32,
    offset: u32,
}

impl Op for Attention {
    const NAME: &'static str = "attention";
    const SHADERS: &'static [Shader] =
        &[shader!(Features::NONE, attention / "attention", "attend")];
    const BINDINGS: &'static [Binding] = &[
        read("qkv", Elem::F32),
        read("k_cache", Elem::U32),
        read("v_cache", Elem::U32),
        write("out", Elem::F32),
    ];
    // a score of 64 is off by up to 1e-5 in f32, and its weight by as much of itself; exp adds 3 + 2 |x| ULP
    const AGREE: Agree = Agree::Nmse(1e-10);
    type Params = AttentionParams;

    fn params(&self) -> AttentionParams {
        AttentionParams {
            rows: self.0.rows as u32,
            heads: self.0.heads as u32,
            kv_heads: self.0.kv_heads as u32,
            head_dim: self.0.head_dim as u32,
            position: self.0.position as u32,
            scale: (self.0.head_dim as f64).powf(-0.5) as f32,
            first: self.0.first as u32,
            offset: self.0.offset as u32,
        }
    }

    fn prelude(&self) -> &'static str {
        self.0.kv.prelude()
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.0.rows * self.0.heads) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let h = &self.0;
        let (cache, rows) = (h.cache_words(), h.offset + h.rows);
        vec![
            rows * h.qkv_row(),
            cache,
            cache,
            rows * h.heads * h.head_dim,
        ]
    }

    fn cost(&self) -> Cost {
        let h = &self.0;
        let q = h.rows * h.heads * h.head_dim;
        let seen = h.rows as f64 * (h.position as f64 + (h.rows as f64 + 1.0) / 2.0);
        Cost {
            bytes: (8 * q + 2 * h.kv.bytes() * h.positions() * h.cache_row()) as f64,
            ops: 4.0 * seen * (h.heads * h.head_dim) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let h = &self.0;
        let (qkv, out): (&[f32], &mut [f32]) = (b.read(0), b.write(3));
        let (k, v) = (h.cache(b.read(1)), h.cache(b.read(2)));
        let d = h.head_dim;
        let (qkv, out) = h.rows_of(qkv, out);
        for row in 0..h.rows {
            for head in 0..h.heads {
                let q = &qkv[row * h.qkv_row() + head * d..][..d];
                let kv = head / (h.heads / h.kv_heads) * d;
                let scores: Vec<f64> = (0..=h.position + row)
                    .map(|t| {
                        let k = &k[t * h.cache_row() + kv..][..d];
                        let dot: f64 = q
                            .iter()
                            .zip(k)
                            .map(|(&a, &b)| f64::from(a) * f64::from(b))
                            .sum();
                        dot / (d as f64).sqrt()
                    })
                    .collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
                let total: f64 = weights.iter().sum();
                for j in 0..d {
                    let values = weights.iter().enumerate();
                    let sum: f64 = values
                        .map(|(t, w)| w * f64::from(v[t * h.cache_row() + kv + j]))
                        .sum();
                    out[(row * h.heads + head) * d + j] = (sum / total) as f32;
                }
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (qkv, out): (&[f32], &mut [f32]) = (b.read(0), b.write(3));
        let (k, v) = (self.0.cache(b.read(1)), self.0.cache(b.read(2)));
        let (h, d) = (&self.0, self.0.head_dim);
        let (qkv, out) = h.rows_of(qkv, out);
        let outs: Vec<_> = out
            .chunks_exact_mut(d)
            .take(h.rows * h.heads)
            .enumerate()
            .collect();
        crate::ops::cpu::each_worth(outs, h.nanoseconds(h.positions()), |(i, out)| {
            let (row, head) = (i / h.heads, i % h.heads);
            let (_, total) = h.attend((row, head), 0..h.position + row + 1, [qkv, &k, &v], out);
            for out in out {
                *out /= total;
            }
        });
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::attention()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, h: Heads, amplitude| {
            let cache = (h.first + h.positions() + 2) * h.cache_row();
            let kept = |seed| Data::u32(&h.kv.encode(&noise(seed, cache, 1.0)));
            let data = vec![
                Data::f32(&noise(51, (h.offset + h.rows) * h.qkv_row(), amplitude)),
                kept(52),
                kept(53),
                Data::Out((h.offset + h.rows) * h.heads * h.head_dim),
            ];
            Case::new(name, Self(h), data)
        };
        let mut cases: Vec<_> = shapes()
            .into_iter()
            .map(|(name, h)| case(name, h, 2.0))
            .collect();
        let long = Heads {
            rows: 1,
            heads: 2,
            kv_heads: 1,
            head_dim: 64,
            position: 1200,
            kv: Kv::F32,
            first: 0,
            offset: 0,
        };
        let later = Heads {
            offset: 3,
            ..shapes()[2].1
        };
        cases.push(case("a later sequence of a pass", later, 2.0));
        cases.push(case("long", long, 1.0));
        cases.push(case("sharp", long, 30.0));
        cases.push(growing(long));
        cases
    }
}

/// Scores that grow with the position, so that every tile raises the maximum; then all of them very negative.
fn growing(h: Heads) -> Case<Attention> {
    let q: Vec<f32> = (0..h.qkv_row())
        .map(|i| if i < h.head_dim { 8.0 } else { -8.0 })
        .collect();
    let ramp = |t: usize| 0.2 + 0.8 * t as f32 / h.positions() as f32;
    let k: Vec<f32> = (0..h.positions() * h.cache_row())
        .map(|i| ramp(i / h.cache_row()))
        .collect();
    let data = vec![
        Data::f32(&q),
        Data::f32(&k),
        Data::f32(&noise(54, k.len(), 1.0)),
        Data::Out(h.heads * h.head_dim),
    ];
    Case::new("growing and falling scores", Attention(h), data)
}

impl Heads {
    /// The rows of this step in `qkv` and `out`.
    fn rows_of<'a>(&self, qkv: &'a [f32], out: &'a mut [f32]) -> (&'a [f32], &'a mut [f32]) {
        let qkv = &qkv[self.offset * self.qkv_row()..];
        (qkv, &mut out[self.offset * self.heads * self.head_dim..])
    }

    /// The text's values in a cache.
    pub(in crate::ops) fn cache<'a>(&self, words: &'a [u32]) -> std::borrow::Cow<'a, [f32]> {
        self.kv
            .values(&words[self.kv.words(self.first * self.cache_row())..self.cache_words()])
    }

    /// One head of one row over `range`, in f32: the largest score and the sum of weights are returned,
    /// the weighted values (not yet divided by that sum) are left in `out`.
    pub(in crate::ops) fn attend<'a>(
        &self,
        (row, head): (usize, usize),
        range: std::ops::Range<usize>,
        [qkv, k, v]: [&'a [f32]; 3],
        out: &mut [f32],
    ) -> (f32, f32) {
        let d = self.head_dim;
        if range.is_empty() {
            out.fill(0.0);
            return (0.0, 0.0);
        }
        let q = &qkv[row * self.qkv_row() + head * d..][..d];
        let kv = head / (self.heads / self.kv_heads) * d;
        let (begin, end) = (range.start * self.cache_row(), range.end * self.cache_row());
        let from = |cache: &'a [f32]| cache[begin..end].get(kv..).unwrap_or_default();
        crate::ops::cpu::attended(q, from(k), from(v), self.cache_row(), out)
    }

    /// About how long that takes over so many positions, on the host.
    pub(in crate::ops) fn nanoseconds(&self, positions: usize) -> usize {
        100 + positions * (10 + self.head_dim / 4)
    }
}

/// Shapes these ops are checked on.
pub(in crate::ops) fn shapes() -> Vec<(&'static str, Heads)> {
    let shape = |rows, heads, kv_heads, head_dim, position| Heads {
        rows,
        heads,
        kv_heads,
        head_dim,
        position,
        kv: Kv::F32,
        first: 0,
        offset: 0,
    };
    let kept = |kv, first, heads| Heads { kv, first, ..heads };
    vec![
        ("first token", shape(1, 8, 4, 8, 0)),
        ("prompt", shape(9, 4, 4, 16, 0)),
        ("grouped", shape(3, 6, 2, 64, 5)),
        ("one kv head, heads of 128", shape(2, 4, 1, 128, 126)),
        ("tile and one", shape(2, 2, 1, 32, 127)),
        ("odd pairs", shape(3, 3, 3, 10, 7)),
        ("smallest heads", shape(5, 2, 1, 2, 300)),
        ("largest heads", shape(2, 2, 2, 256, 130)),
        ("more lanes than slices", shape(1, 2, 1, 96, 140)),
        ("halves", kept(Kv::F16, 0, shape(3, 6, 2, 64, 150))),
        (
            "halves, a later text",
            kept(Kv::F16, 40, shape(2, 2, 2, 20, 30)),
        ),
        ("a later text", kept(Kv::F32, 7, shape(2, 2, 1, 16, 9))),
    ]
}
