//! Rotary embedding on the way into the caches.

use super::attention::*;
use crate::ops::*;
use bytemuck::Zeroable;

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
    offset: u32,
}

impl Op for Rope {
    const NAME: &'static str = "rope";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, attention / "rope")];
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
            offset: self.0.offset as u32,
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
        vec![(h.offset + h.rows) * h.qkv_row(), table, cache, cache]
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
            let (q, kv) =
                qkv[(h.offset + row) * h.qkv_row()..][..h.qkv_row()].split_at_mut(h.heads * width);
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
        let rows = qkv
            .chunks_exact_mut(h.qkv_row())
            .skip(h.offset)
            .zip(turns.zip(caches));
        let rows: Vec<_> = rows.take(h.rows).collect();
        cpu::each_worth(rows, h.qkv_row() / 2, |(qkv, (turns, (k_to, v_to)))| {
            let (q, kv) = qkv.split_at_mut(h.heads * width);
            let (k, v) = kv.split_at(cache);
            k_to.copy_from_slice(k);
            v_to.copy_from_slice(v);
            cpu::rotated(turns, q);
            cpu::rotated(turns, k_to);
        });
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::rope()
    }

    fn cases() -> Vec<Case<Self>> {
        let later = Heads {
            offset: 3,
            ..shapes()[1].1
        };
        shapes()
            .into_iter()
            .chain([("a later sequence of a pass", later)])
            .map(|(name, h)| {
                let context = h.positions() + 3;
                let turns = noise_turns(context, h.head_dim);
                let cache = (h.first + context) * h.cache_row();
                let kept = |seed| Data::u32(&h.kv.encode(&noise(seed, cache, 1.0)));
                let data = vec![
                    Data::f32(&noise(42, (h.offset + h.rows) * h.qkv_row(), 2.0)),
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
pub(in crate::ops) fn turn(head: &mut [f32], turns: &[f32]) {
    let half = head.len() / 2;
    for j in 0..half {
        let (cos, sin) = (f64::from(turns[2 * j]), f64::from(turns[2 * j + 1]));
        let (a, b) = (f64::from(head[j]), f64::from(head[j + half]));
        head[j] = (a * cos - b * sin) as f32;
        head[j + half] = (b * cos + a * sin) as f32;
    }
}
