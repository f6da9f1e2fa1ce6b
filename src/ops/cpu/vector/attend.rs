//! Attention of one token over cached keys and values.

use super::{LANES, capped, dot_lanes, exp};
use crate::ops::cpu::prefetch;
use fearless_simd::{Level, Simd, dispatch, f32x16, prelude::*};
use std::ops::Range;

/// Positions that are taken together: their keys, and then their values, stay in the first-level cache for all heads.
const BLOCK: usize = 32;

/// Values of a head that are summed in registers at a time.
const COLUMNS: usize = 4 * LANES;

/// Keys or values of a head at the places of a ring, from the first of them on.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) enum CachedRows<'a> {
    /// In single precision.
    F32(&'a [f32]),
    /// The bits of half precision.
    F16(&'a [u16]),
}

/// Keys and values that a token sees.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Seen<'a> {
    /// Keys, then values.
    pub rows: [CachedRows<'a>; 2],
    /// Values from position to position.
    pub stride: usize,
    /// Places of the ring: behind the last one follows the first.
    pub ring: usize,
    /// The place of the first position.
    pub first: usize,
    /// How many positions.
    pub positions: usize,
    /// Whether they are read once, from memory: then what comes next is asked for. Tokens of a prompt find most of them in
    /// the cache.
    pub once: bool,
}

/// What becomes of a sum of products: it is multiplied by `scale`, and then `softcap * tanh(score / softcap)` unless that is 0.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Scores {
    pub scale: f32,
    pub softcap: f32,
}

/// Attention of some heads of a token, which all attend to the same keys and values: of each head its largest score and the
/// sum of its weights, `ends`, and the weighted values (not yet divided by that sum), `sums` [heads, head_dim]. `q` has the
/// heads' queries. What becomes of a head does not depend on the heads beside it.
pub(in crate::ops) fn attended(
    q: &[f32],
    scores: Scores,
    seen: Seen<'_>,
    sums: &mut [f32],
    ends: &mut [[f32; 2]],
) {
    dispatch!(Level::new(), simd => attended_lanes(simd, q, scores, seen, sums, ends));
}

#[inline(always)]
fn attended_lanes<S: Simd>(
    simd: S,
    q: &[f32],
    scores: Scores,
    seen: Seen<'_>,
    sums: &mut [f32],
    ends: &mut [[f32; 2]],
) {
    let (n, d) = (seen.positions, q.len() / ends.len());
    let mut weights = vec![0.0; n * ends.len()];
    let mut wide = Vec::new();
    for (block, places) in seen.blocks() {
        let (keys, stride) = seen.rows(simd, 0, &places, d, &mut wide);
        for (q, weights) in q.chunks_exact(d).zip(weights.chunks_exact_mut(n)) {
            for (i, score) in weights[block.clone()].iter_mut().enumerate() {
                *score = dot_lanes(simd, q, &keys[i * stride..][..d]) * scores.scale;
            }
        }
    }
    for (weights, ends) in weights.chunks_exact_mut(n.max(1)).zip(ends.iter_mut()) {
        *ends = exponentials(weights, scores.softcap);
    }
    sums.fill(0.0);
    for (block, places) in seen.blocks() {
        let (values, stride) = seen.rows(simd, 1, &places, d, &mut wide);
        for (sums, weights) in sums.chunks_exact_mut(d).zip(weights.chunks_exact(n)) {
            add_weighted(simd, &weights[block.clone()], values, stride, sums);
        }
    }
}

impl Seen<'_> {
    /// Block after block, its positions counted from the first one and its places; it ends at the latest where the ring
    /// begins again.
    #[inline(always)]
    fn blocks(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let (mut first, all) = (0, *self);
        std::iter::from_fn(move || {
            let place = (all.first + first) % all.ring;
            let count = BLOCK.min(all.positions - first).min(all.ring - place);
            first += count;
            (count > 0).then_some((first - count..first, place..place + count))
        })
    }

    /// The keys (0) or values (1) of a block, and their stride: where they lie or in `wide`. The next block is asked for.
    #[inline(always)]
    fn rows<'w, S: Simd>(
        &'w self,
        _: S,
        which: usize,
        block: &Range<usize>,
        d: usize,
        wide: &'w mut Vec<f32>,
    ) -> (&'w [f32], usize) {
        let begin = block.start * self.stride;
        let end = (self.first + self.positions).min(self.ring);
        let left = end.saturating_sub(block.start);
        match self.rows[which] {
            CachedRows::F32(rows) => {
                let rows = &rows[begin..];
                self.ask(rows, left, d);
                (rows, self.stride)
            }
            CachedRows::F16(rows) => {
                let rows = &rows[begin..];
                self.ask(rows, left, d);
                wide.resize(BLOCK * d, 0.0);
                let all = wide.chunks_exact_mut(d).zip(rows.chunks(self.stride));
                for (wide, row) in all.take(block.len()) {
                    for (wide, &half) in wide.iter_mut().zip(row) {
                        *wide = widened(half);
                    }
                }
                (wide, d)
            }
        }
    }

    /// Asks memory for `d` values at each position of the block behind the first of `rows`, of which there are `count`.
    #[inline(always)]
    fn ask<T>(&self, rows: &[T], count: usize, d: usize) {
        const LINE: usize = 64;
        if !self.once {
            return;
        }
        let size = size_of::<T>();
        for position in BLOCK..count.min(2 * BLOCK) {
            for line in 0..(d * size).div_ceil(LINE) {
                prefetch(rows, position * self.stride * size + line * LINE);
            }
        }
    }
}

/// The value of these bits of half precision.
#[inline(always)]
fn widened(half: u16) -> f32 {
    // 2^112 is what the biases of the exponents differ by
    const SHIFT: f32 = f32::from_bits((127 + 112) << 23);
    let (magnitude, sign) = (u32::from(half & 0x7fff), u32::from(half & 0x8000));
    let bits = (f32::from_bits(magnitude << 13) * SHIFT).to_bits();
    let special = if magnitude >= 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(bits | special | sign << 16)
}

/// Scores become weights, `exp(score - largest score)`: that score and the sum of the weights are returned.
#[inline(always)]
fn exponentials(scores: &mut [f32], softcap: f32) -> [f32; 2] {
    if softcap > 0.0 {
        for score in scores.iter_mut() {
            *score = capped(softcap, *score);
        }
    }
    let mut tops = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = scores.as_chunks_mut::<LANES>();
    for block in blocks.iter() {
        for i in 0..LANES {
            tops[i] = tops[i].max(block[i]);
        }
    }
    let top = tops.iter().chain(rest.iter()).copied();
    let top = top.fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0f64; LANES];
    for block in blocks {
        for i in 0..LANES {
            block[i] = exp(block[i] - top);
            sums[i] += f64::from(block[i]);
        }
    }
    let mut total: f64 = sums.iter().sum();
    for score in rest {
        *score = exp(*score - top);
        total += f64::from(*score);
    }
    [top, total as f32]
}

/// `sums += weight * values` for all positions of a block, in their order.
#[inline(always)]
fn add_weighted<S: Simd>(
    simd: S,
    weights: &[f32],
    values: &[f32],
    stride: usize,
    sums: &mut [f32],
) {
    let (blocks, rest) = sums.as_chunks_mut::<COLUMNS>();
    let columns = blocks.len() * COLUMNS;
    for (block, sums) in blocks.iter_mut().enumerate() {
        let mut all = [f32x16::splat(simd, 0.0); COLUMNS / LANES];
        for (all, sums) in all.iter_mut().zip(sums.as_chunks::<LANES>().0) {
            *all = f32x16::from_slice(simd, sums);
        }
        for (i, &weight) in weights.iter().enumerate() {
            let values = &values[i * stride + block * COLUMNS..][..COLUMNS];
            let weight = f32x16::splat(simd, weight);
            for (all, values) in all.iter_mut().zip(values.as_chunks::<LANES>().0) {
                *all = f32x16::from_slice(simd, values).mul_add(weight, *all);
            }
        }
        for (all, sums) in all.iter().zip(sums.as_chunks_mut::<LANES>().0) {
            all.store_slice(sums);
        }
    }
    for (i, &weight) in weights.iter().enumerate() {
        let values = &values[i * stride + columns..][..rest.len()];
        for (sum, value) in rest.iter_mut().zip(values) {
            *sum += weight * value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    #[test]
    fn every_half_is_widened() {
        for bits in 0..=u16::MAX {
            let (wide, expected) = (widened(bits), f16::from_bits(bits).to_f32());
            let same = wide.to_bits() == expected.to_bits();
            assert!(same || wide.is_nan() && expected.is_nan(), "{bits:04x}");
        }
    }

    /// Heads of many sizes over many numbers of positions, alone and together, against sums in f64.
    #[test]
    fn heads_attend_alike_alone_and_together() {
        for (d, positions, heads, softcap) in [
            (64, 1, 1, 0.0),
            (64, 33, 4, 0.0),
            (80, 100, 2, 20.0),
            (12, 64, 3, 0.0),
            (200, 70, 2, 0.0),
            (2, 5, 5, 0.0),
        ] {
            let stride = 2 * d;
            let value = |i: usize| (i as f32 * 0.37).sin();
            let [q, k, v] = [heads * d, positions * stride, positions * stride]
                .map(|len| (0..len).map(|i| value(i + 7 * len)).collect::<Vec<_>>());
            let seen = Seen {
                rows: [CachedRows::F32(&k[d..]), CachedRows::F32(&v[d..])],
                stride,
                ring: positions,
                first: 0,
                positions,
                once: heads == 1,
            };
            let scores = Scores {
                scale: 0.3,
                softcap,
            };
            let (mut sums, mut ends) = (vec![f32::NAN; heads * d], vec![[0.0; 2]; heads]);
            attended(&q, scores, seen, &mut sums, &mut ends);
            let mut turned = [k.clone(), v.clone()];
            let by = positions / 3;
            turned.iter_mut().for_each(|x| x.rotate_right(by * stride));
            let ring = Seen {
                rows: turned.each_ref().map(|x| CachedRows::F32(&x[d..])),
                first: by,
                ..seen
            };
            let (mut again, mut those) = (sums.clone(), ends.clone());
            attended(&q, scores, ring, &mut again, &mut those);
            assert!(again == sums && those == ends, "a ring of {positions}");
            for head in 0..heads {
                let (q, sums) = (&q[head * d..][..d], &sums[head * d..][..d]);
                let (mut alone, mut end) = (vec![f32::NAN; d], [[0.0; 2]]);
                attended(q, scores, seen, &mut alone, &mut end);
                assert!(alone == sums && end[0] == ends[head]);
                let row = |x: &[f32], t: usize| x[t * stride + d..][..d].to_vec();
                let score = |t| {
                    let products = q.iter().zip(row(&k, t)).map(|(a, b)| f64::from(a * b));
                    let score = products.sum::<f64>() * 0.3;
                    match f64::from(softcap) {
                        0.0 => score,
                        cap => cap * (score / cap).tanh(),
                    }
                };
                let weights: Vec<f64> = (0..positions)
                    .map(|t| (score(t) - f64::from(ends[head][0])).exp())
                    .collect();
                let total: f64 = weights.iter().sum();
                assert!((total - f64::from(ends[head][1])).abs() < 1e-4 * total);
                for (j, sum) in sums.iter().enumerate() {
                    let each = weights.iter().enumerate();
                    let exact: f64 = each.map(|(t, w)| w * f64::from(row(&v, t)[j])).sum();
                    assert!(
                        (exact - f64::from(*sum)).abs() < 1e-3,
                        "{d} {positions} {j}"
                    );
                }
            }
        }
    }
}
