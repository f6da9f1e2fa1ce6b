//! Rotary embedding on the way into the caches.

use super::{Heads, Pairs, Positions};
use crate::ops::*;

mod cases;

/// Rotates every head of q and k, as [`Heads::rotation`] says, by the angles of its token's position. Rotated q stays in
/// place; rotated k and plain v enter the caches at the token's slot and position.
///
/// Bindings: `qkv` [tokens, (heads + 2 kv_heads) head_dim] f32, of which only q changes; `angles` [context, rotation.width /
/// 2, 2] f32 of (cos, sin); `rows`, the row table; `k_cache`, `v_cache` [slots, capacity, kv_heads head_dim] of [`Kv`].
/// Tokens before `offset` in `qkv` are those of other dispatches.
#[derive(Debug, Clone)]
pub struct Rope(pub Heads);

params! {
    /// Uniform block of [`Rope`].
    pub struct RopeParams {
        tokens: u32,
        heads: u32,
        kv_heads: u32,
        head_dim: u32,
        width: u32,
        capacity: u32,
        half_cached: u32,
        offset: u32,
        table: u32,
        row: u32,
        slot: u32,
        position: u32,
    }
}

impl Op for Rope {
    const NAME: &'static str = "rope";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        attention / "rope",
        "ring",
        "row_table"
    )];
    const BINDINGS: &'static [Binding] = &[
        write("qkv", Elem::F32),
        read("angles", Elem::F32),
        read("rows", Elem::U32),
        write("k_cache", Elem::F32),
        write("v_cache", Elem::F32),
    ];
    // Each value is rounded twice, (2 u)^2 twice for a pair, and a product may be fused with the sum or not.
    const AGREE: Agree = Agree::Nmse(3e-14);
    type Params = RopeParams;

    fn shape(&self) -> String {
        self.0.shape()
    }

    fn params(&self) -> RopeParams {
        let [table, row, slot, position] = self.0.position_params();
        RopeParams {
            tokens: self.0.tokens as u32,
            heads: self.0.heads as u32,
            kv_heads: self.0.kv_heads as u32,
            head_dim: self.0.head_dim as u32,
            width: self.0.rotation.width as u32,
            capacity: self.0.capacity as u32,
            half_cached: (self.0.kv == Kv::F16).into(),
            offset: self.0.offset as u32,
            table,
            row,
            slot,
            position,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        let neighbours = self.0.rotation.pairs == Pairs::Neighbours;
        vec![
            ("NEIGHBOURS", u32::from(neighbours).into()),
            ("RING", u32::from(self.0.wraps()).into()),
        ]
    }

    fn agree(&self) -> Agree {
        match self.0.kv {
            Kv::F32 => Self::AGREE,
            // A value on the edge between two f16 values may become either.
            Kv::F16 => Agree::Nmse(1e-8),
        }
    }

    fn elem(&self, binding: usize) -> Elem {
        match binding {
            3 | 4 => self.0.kv.elem(),
            _ => Self::BINDINGS[binding].elem,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.0.tokens * self.0.qkv_row() / 2).div_ceil(256) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let h = &self.0;
        let (cache, angles) = (h.cache_words(), h.angle_words());
        vec![
            h.rows() * h.qkv_row(),
            angles,
            h.table_words(),
            cache,
            cache,
        ]
    }

    fn cost(&self) -> Cost {
        let h = &self.0;
        let (all, angles) = (h.tokens * h.qkv_row(), h.tokens * h.rotation.width);
        Cost {
            bytes: 4.0 * (2 * all + angles) as f64,
            ops: 3.0 * (angles * (h.heads + h.kv_heads)) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let h = &self.0;
        let (qkv, angles): (&mut [f32], &[f32]) = (b.write(0), b.read(1));
        let rows: &[u32] = b.read(2);
        let (k_cache, v_cache): (&mut [u32], &mut [u32]) = (b.write(3), b.write(4));
        let d = h.head_dim;
        for token in 0..h.tokens {
            let place = h.place(rows, token);
            let angles = h.angles(angles, place.1);
            let row = &mut qkv[(h.offset + token) * h.qkv_row()..][..h.qkv_row()];
            let (q, kv) = row.split_at_mut(h.q_row());
            let (k, v) = kv.split_at(h.cache_row());
            let mut k = k.to_vec();
            for head in q.chunks_exact_mut(d).chain(k.chunks_exact_mut(d)) {
                h.rotation.rotate(head, angles, 1.0);
            }
            h.kv.store(k_cache, h.cache_index(place), &k);
            h.kv.store(v_cache, h.cache_index(place), v);
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let h = &self.0;
        let (qkv, angles): (&mut [f32], &[f32]) = (b.write(0), b.read(1));
        let rows: &[u32] = b.read(2);
        let (k_cache, v_cache): (&mut [u32], &mut [u32]) = (b.write(3), b.write(4));
        let neighbours = h.rotation.pairs == Pairs::Neighbours;
        let one = |row: &mut [f32], position: usize, k_cached: &mut [u32], v_cached: &mut [u32]| {
            let angles = h.angles(angles, position);
            let (q, kv) = row.split_at_mut(h.q_row());
            let (k, v) = kv.split_at(h.cache_row());
            let mut k = k.to_vec();
            for heads in [q, &mut k] {
                cpu::rotated(angles, neighbours, h.head_dim, heads);
            }
            h.kv.store(k_cached, 0, &k);
            h.kv.store(v_cached, 0, v);
        };
        let tokens = qkv.chunks_exact_mut(h.qkv_row()).skip(h.offset);
        let Positions::Run { slot, first } = h.positions else {
            for (token, row) in tokens.take(h.tokens).enumerate() {
                let place = h.place(rows, token);
                let index = h.kv.words(h.cache_index(place));
                one(row, place.1, &mut k_cache[index..], &mut v_cache[index..]);
            }
            return;
        };
        let caches = h.ring_rows(k_cache, (slot, first));
        let caches = caches.zip(h.ring_rows(v_cache, (slot, first)));
        let tokens: Vec<_> = tokens.zip(caches).take(h.tokens).enumerate().collect();
        cpu::each_worth(tokens, h.qkv_row() / 2, |(token, (row, (k, v)))| {
            one(row, first + token, k, v);
        });
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
