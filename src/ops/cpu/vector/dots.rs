//! Many dots at once.

use super::{LANES, dot_lanes};
use fearless_simd::{Level, Simd, dispatch, f32x16, prelude::*};

/// Rows and outputs of a tile of [`dots`]: with f32x16 in pairs of registers, 12 of AVX2's 16 hold sums.
const TILE: (usize, usize) = (3, 2);

/// `sums[row, out] = x[row] . w[out]` for rows and outputs of `k` values each, `outs` of them: each sum has the bits of
/// [`dot`]. Values that are loaded once serve a tile of sums, and the outputs stay in the cache for all rows.
pub(in crate::ops) fn dots(k: usize, x: &[f32], w: &[f32], sums: &mut [f32]) {
    dispatch!(Level::new(), simd => dots_lanes(simd, k, x, w, sums));
}

#[inline(always)]
fn dots_lanes<S: Simd>(simd: S, k: usize, x: &[f32], w: &[f32], sums: &mut [f32]) {
    let outs = w.len() / k;
    let panels = x.chunks(TILE.0 * k).zip(sums.chunks_mut(TILE.0 * outs));
    for (x, sums) in panels {
        let whole = if x.len() == TILE.0 * k {
            outs / TILE.1 * TILE.1
        } else {
            0
        };
        for out in (0..whole).step_by(TILE.1) {
            let tile = tile_lanes(simd, k, x, &w[out * k..][..TILE.1 * k]);
            for (row, tile) in sums.chunks_exact_mut(outs).zip(tile) {
                row[out..out + TILE.1].copy_from_slice(&tile);
            }
        }
        for (x, sums) in x.chunks_exact(k).zip(sums.chunks_exact_mut(outs)) {
            for (w, sum) in w.chunks_exact(k).zip(sums).skip(whole) {
                *sum = dot_lanes(simd, x, w);
            }
        }
    }
}

/// One tile of [`dots`]: the steps of [`dot_lanes`] for all of its sums at once.
#[inline(always)]
fn tile_lanes<S: Simd>(simd: S, k: usize, x: &[f32], w: &[f32]) -> [[f32; TILE.1]; TILE.0] {
    let zero = f32x16::splat(simd, 0.0);
    let mut sums = [[zero; TILE.1]; TILE.0];
    let whole = k / LANES * LANES;
    for i in (0..whole).step_by(LANES) {
        let w0 = f32x16::from_slice(simd, &w[i..i + LANES]);
        let w1 = f32x16::from_slice(simd, &w[k + i..k + i + LANES]);
        for (row, sums) in sums.iter_mut().enumerate() {
            let x = f32x16::from_slice(simd, &x[row * k + i..row * k + i + LANES]);
            sums[0] = x.mul_add(w0, sums[0]);
            sums[1] = x.mul_add(w1, sums[1]);
        }
    }
    let mut all = [[0.0; TILE.1]; TILE.0];
    for (row, all) in all.iter_mut().enumerate() {
        for (out, sum) in all.iter_mut().enumerate() {
            let mut rest = 0.0;
            for i in whole..k {
                rest += x[row * k + i] * w[out * k + i];
            }
            *sum = sums[row][out].reduce_sum() + rest;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cpu::dot;

    #[test]
    fn tiles_of_dots_have_the_bits_of_dots() {
        for (rows, outs, k) in [
            (7, 5, 75),
            (3, 2, 16),
            (1, 1, 1),
            (6, 4, 48),
            (2, 3, 33),
            (3, 1, 20),
        ] {
            let value = |i: usize| (i as f32 * 0.37).sin();
            let x: Vec<f32> = (0..rows * k).map(value).collect();
            let w: Vec<f32> = (0..outs * k).map(|i| value(i + 1000)).collect();
            let mut sums = vec![f32::NAN; rows * outs];
            dots(k, &x, &w, &mut sums);
            for (i, sum) in sums.iter().enumerate() {
                let (x, w) = (&x[i / outs * k..][..k], &w[i % outs * k..][..k]);
                assert_eq!(sum.to_bits(), dot(x, w).to_bits(), "{rows} {outs} {k} {i}");
            }
        }
    }
}
