//! Rotary embedding and causal attention over a KV cache.
//!
//! Heads lie side by side in a row: `[q heads | k heads | v heads]` in `qkv`, `[kv heads]` in a cache row.
//! Query head `h` attends to key/value head `h / (heads / kv_heads)`.

use super::*;
use bytemuck::Zeroable;

/// Largest head the attention kernel takes: one invocation per value.
pub const LARGEST_HEAD: usize = 256;

/// Shape of a step of attention, shared by [`Rope`] and [`Attention`].
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
    pub(super) fn cache_words(&self) -> usize {
        self.kv
            .words((self.first + self.positions()) * self.cache_row())
    }

    /// Positions that are known after this step.
    pub fn positions(&self) -> usize {
        self.position + self.rows
    }
}

/// Rotates the pairs `(j, j + head_dim / 2)` of every head of q and k by the angle of their position
/// (Hugging Face's half rotation); q stays in place, rotated k and plain v go into the caches.
///
/// Bindings: `qkv` [rows, (heads + 2 kv_heads) head_dim] f32, only q changes; `table` [context, head_dim / 2, 2]
/// f32 of (cos, sin); `k_cache`, `v_cache` [context, kv_heads head_dim] f32, rows `position..position + rows`
/// are written.
#[derive(Debug, Clone)]
pub struct Rope(pub Heads);

/// Uniform block of [`Rope`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct RopeParams {
    rows: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    position: u32,
    first: u32,
    half_kept: u32,
}

impl Op for Rope {
    const NAME: &'static str = "rope";
    const SHADERS: &'static [Shader] = &[shader!(Needs::NONE, "rope")];
    const BINDINGS: &'static [Binding] = &[
        write("qkv", Elem::F32),
        read("table", Elem::F32),
        write("k_cache", Elem::F32),
        write("v_cache", Elem::F32),
    ];
    // two roundings per value: (2 u)^2 twice per pair, with a product that may be fused or not
    const AGREE: Agree = Agree::Nmse(3e-14);
    type Params = RopeParams;

    fn params(&self) -> RopeParams {
        RopeParams {
            rows: self.0.rows as u32,
            heads: self.0.heads as u32,
            kv_heads: self.0.kv_heads as u32,
            head_dim: self.0.head_dim as u32,
            position: self.0.position as u32,
            first: self.0.first as u32,
            half_kept: (self.0.kv == Kv::F16).into(),
        }
    }

    fn agree(&self) -> Agree {
        match self.0.kv {
            Kv::F32 => Self::AGREE,
            // a value on the edge between two halves may fall on either
            Kv::F16 => Agree::Nmse(1e-8),
        }
    }

    fn elem(&self, binding: usize) -> Elem {
        match binding {
            2.. => self.0.kv.elem(),
            _ => Elem::F32,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.0.rows * self.0.qkv_row() / 2).div_ceil(256) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let h = &self.0;
        let (cache, table) = (h.cache_words(), h.positions() * h.head_dim);
        vec![h.rows * h.qkv_row(), table, cache, cache]
    }

    fn cost(&self) -> Cost {
        let h = &self.0;
        let (all, table) = (h.rows * h.qkv_row(), h.rows * h.head_dim);
        Cost {
            bytes: 4.0 * (2 * all + table) as f64,
            ops: 3.0 * (all - h.rows * h.cache_row()) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let h = &self.0;
        let (qkv, table): (&mut [f32], &[f32]) = (b.write(0), b.read(1));
        let (k_cache, v_cache): (&mut [u32], &mut [u32]) = (b.write(2), b.write(3));
        let (width, cache) = (h.head_dim, h.cache_row());
        for row in 0..h.rows {
            let position = h.position + row;
            let turns = &table[position * width..][..width];
            let (q, kv) = qkv[row * h.qkv_row()..][..h.qkv_row()].split_at_mut(h.heads * width);
            let (k, v) = kv.split_at(cache);
            let mut k = k.to_vec();
            for head in q.chunks_exact_mut(width).chain(k.chunks_exact_mut(width)) {
                turn(head, turns);
            }
            let at = (h.first + position) * cache;
            h.kv.store(k_cache, at, &k);
            h.kv.store(v_cache, at, v);
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let h = &self.0;
        if h.kv != Kv::F32 {
            return self.reference(b);
        }
        let (qkv, table): (&mut [f32], &[f32]) = (b.write(0), b.read(1));
        let (k_cache, v_cache): (&mut [f32], &mut [f32]) = (b.write(2), b.write(3));
        let (width, cache) = (h.head_dim, h.cache_row());
        let caches = k_cache
            .chunks_exact_mut(cache)
            .zip(v_cache.chunks_exact_mut(cache))
            .skip(h.first + h.position);
        let turns = table.chunks_exact(width).skip(h.position);
        let rows = qkv.chunks_exact_mut(h.qkv_row()).zip(turns.zip(caches));
        let rows: Vec<_> = rows.take(h.rows).collect();
        super::host::each_worth(rows, h.qkv_row() / 2, |(qkv, (turns, (k_to, v_to)))| {
            let (q, kv) = qkv.split_at_mut(h.heads * width);
            let (k, v) = kv.split_at(cache);
            k_to.copy_from_slice(k);
            v_to.copy_from_slice(v);
            super::vector::rotated(turns, q);
            super::vector::rotated(turns, k_to);
        });
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        large::rope()
    }

    fn cases() -> Vec<Case<Self>> {
        shapes()
            .into_iter()
            .map(|(name, h)| {
                let context = h.positions() + 3;
                let turns = noise_turns(context, h.head_dim);
                let cache = (h.first + context) * h.cache_row();
                let kept = |seed| Data::u32(&h.kv.encode(&noise(seed, cache, 1.0)));
                let data = vec![
                    Data::f32(&noise(42, h.rows * h.qkv_row(), 2.0)),
                    Data::f32(&turns),
                    kept(43),
                    kept(44),
                ];
                Case::new(name, Self(h), data)
            })
            .collect()
    }
}

/// Rotates one head by the angles whose (cos, sin) are `turns`.
pub(super) fn turn(head: &mut [f32], turns: &[f32]) {
    let half = head.len() / 2;
    for j in 0..half {
        let (cos, sin) = (f64::from(turns[2 * j]), f64::from(turns[2 * j + 1]));
        let (a, b) = (f64::from(head[j]), f64::from(head[j + half]));
        head[j] = (a * cos - b * sin) as f32;
        head[j + half] = (b * cos + a * sin) as f32;
    }
}

/// (cos, sin) for `positions` positions of heads of `head_dim` values, from noise.
pub(super) fn noise_turns(positions: usize, head_dim: usize) -> Vec<f32> {
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
}

impl Op for Attention {
    const NAME: &'static str = "attention";
    const SHADERS: &'static [Shader] = &[shader!(Needs::NONE, "attention", "attend")];
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
        let (cache, out) = (h.cache_words(), h.rows * h.heads * h.head_dim);
        vec![h.rows * h.qkv_row(), cache, cache, out]
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
        let outs: Vec<_> = out
            .chunks_exact_mut(d)
            .take(h.rows * h.heads)
            .enumerate()
            .collect();
        super::host::each_worth(outs, h.nanoseconds(h.positions()), |(i, out)| {
            let (row, head) = (i / h.heads, i % h.heads);
            let (_, total) = h.attend((row, head), 0..h.position + row + 1, [qkv, &k, &v], out);
            for out in out {
                *out /= total;
            }
        });
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        large::attention()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, h: Heads, amplitude| {
            let cache = (h.first + h.positions() + 2) * h.cache_row();
            let kept = |seed| Data::u32(&h.kv.encode(&noise(seed, cache, 1.0)));
            let data = vec![
                Data::f32(&noise(51, h.rows * h.qkv_row(), amplitude)),
                kept(52),
                kept(53),
                Data::Out(h.rows * h.heads * h.head_dim),
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
        };
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
    /// The text's values in a cache.
    pub(super) fn cache<'a>(&self, words: &'a [u32]) -> std::borrow::Cow<'a, [f32]> {
        self.kv
            .values(&words[self.kv.words(self.first * self.cache_row())..self.cache_words()])
    }

    /// One head of one row over `range`, in f32: the largest score and the sum of weights are returned,
    /// the weighted values (not yet divided by that sum) are left in `out`.
    pub(super) fn attend<'a>(
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
        super::vector::attended(q, from(k), from(v), self.cache_row(), out)
    }

    /// About how long that takes over so many positions, on the host.
    pub(super) fn nanoseconds(&self, positions: usize) -> usize {
        100 + positions * (10 + self.head_dim / 4)
    }
}

/// Shapes these ops are checked on.
pub(super) fn shapes() -> Vec<(&'static str, Heads)> {
    let shape = |rows, heads, kv_heads, head_dim, position| Heads {
        rows,
        heads,
        kv_heads,
        head_dim,
        position,
        kv: Kv::F32,
        first: 0,
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
