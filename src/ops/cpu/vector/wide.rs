//! Products of matrices with sums in f64.

use fearless_simd::{Level, Simd, dispatch, f64x4, prelude::*};

/// Rows and columns of a tile of sums: 12 of AVX2's 16 registers hold the tile and its factors.
pub(in crate::ops) const TILE: (usize, usize) = (4, 8);

/// Adds `sum_k a[k, i] b[k, j]` to a tile of sums, in the order of k: `a` [depth, 4], `b` [depth, 8]. Products of values
/// that are f32 are exact in f64, so that it does not matter whether a CPU rounds between product and sum.
pub(in crate::ops) fn wide_tile(a: &[f64], b: &[f64], sums: &mut [[f64; TILE.1]; TILE.0]) {
    dispatch!(Level::new(), simd => wide_tile_lanes(simd, a, b, sums));
}

#[inline(always)]
fn wide_tile_lanes<S: Simd>(simd: S, a: &[f64], b: &[f64], sums: &mut [[f64; TILE.1]; TILE.0]) {
    let zero = f64x4::splat(simd, 0.0);
    let mut tile = [[zero; 2]; TILE.0];
    for (tile, sums) in tile.iter_mut().zip(sums.iter()) {
        tile[0] = f64x4::from_slice(simd, &sums[..4]);
        tile[1] = f64x4::from_slice(simd, &sums[4..]);
    }
    let (a, _) = a.as_chunks::<{ TILE.0 }>();
    let (b, _) = b.as_chunks::<{ TILE.1 }>();
    for (a, b) in a.iter().zip(b) {
        let b0 = f64x4::from_slice(simd, &b[..4]);
        let b1 = f64x4::from_slice(simd, &b[4..]);
        for (tile, &a) in tile.iter_mut().zip(a) {
            let a = f64x4::splat(simd, a);
            tile[0] = a.mul_add(b0, tile[0]);
            tile[1] = a.mul_add(b1, tile[1]);
        }
    }
    for (tile, sums) in tile.iter().zip(sums) {
        tile[0].store_slice(&mut sums[..4]);
        tile[1].store_slice(&mut sums[4..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_has_the_sums_of_loops() {
        let value = |i: usize| f64::from((i as f32 * 0.37).sin());
        let a: Vec<f64> = (0..4 * 19).map(value).collect();
        let b: Vec<f64> = (0..8 * 19).map(|i| value(i + 500)).collect();
        let mut sums = [[0.5; 8]; 4];
        wide_tile(&a, &b, &mut sums);
        for (i, row) in sums.iter().enumerate() {
            for (j, &sum) in row.iter().enumerate() {
                let plain = (0..19).fold(0.5, |s, k| s + a[4 * k + i] * b[8 * k + j]);
                assert_eq!(sum.to_bits(), plain.to_bits());
            }
        }
    }
}
