//! Blocks of rows on the host.

use super::MatmulTrain;
use crate::ops::cpu;
use std::ops::Range;

impl MatmulTrain {
    /// Adds the products of the rows from `first` on to `sums` [rows, n]. Factors are brought into the order of the tiles that
    /// [`cpu::wide_tile`] adds to, [`DEPTH`] values of k at a time, so that they stay in the caches.
    pub(in crate::ops::train) fn block(&self, [a, b]: [&[f32]; 2], first: usize, sums: &mut [f64]) {
        const TILE: (usize, usize) = cpu::TILE;
        let rows = sums.len() / self.n;
        let columns = self.columns(first);
        let groups = rows.div_ceil(TILE.0);
        for start in (0..self.k).step_by(DEPTH) {
            let ks = start..self.k.min(start + DEPTH);
            let mut left = vec![0.0; groups * ks.len() * TILE.0];
            let tiles = left.chunks_exact_mut(ks.len() * TILE.0).enumerate();
            for (group, tile) in tiles {
                let row = first + group * TILE.0;
                let index = |i, k| self.a.index(i, k);
                pack(
                    a,
                    row..(first + rows).min(row + TILE.0),
                    ks.clone(),
                    index,
                    TILE.0,
                    tile,
                );
            }
            let mut right = vec![0.0; ks.len() * TILE.1];
            for column in columns.clone().step_by(TILE.1) {
                let some = column..columns.end.min(column + TILE.1);
                let index = |j, k| self.b.index(j, k);
                pack(b, some.clone(), ks.clone(), index, TILE.1, &mut right);
                for (group, tile) in left.chunks_exact(ks.len() * TILE.0).enumerate() {
                    let rows = sums.chunks_exact_mut(self.n).skip(group * TILE.0);
                    add_tile(tile, &right, rows.take(TILE.0), some.clone());
                }
            }
        }
    }
}

/// Values of k that tiles are packed for at once.
const DEPTH: usize = 256;

/// Writes `dst` [k, width] from the lines `lines` of a matrix `src` in which `index` finds an element (line, k). Lines that
/// are missing are left as they are.
fn pack(
    src: &[f32],
    lines: Range<usize>,
    ks: Range<usize>,
    index: impl Fn(usize, usize) -> usize,
    width: usize,
    dst: &mut [f64],
) {
    let first = lines.start;
    let stride = index(first, ks.start + 1) as isize - index(first, ks.start) as isize;
    if stride == 1 {
        for line in lines {
            let src = &src[index(line, ks.start)..][..ks.len()];
            for (dst, &v) in dst.chunks_exact_mut(width).zip(src) {
                dst[line - first] = f64::from(v);
            }
        }
        return;
    }
    for (dst, k) in dst.chunks_exact_mut(width).zip(ks) {
        for (dst, line) in dst.iter_mut().zip(lines.clone()) {
            *dst = f64::from(src[index(line, k)]);
        }
    }
}

/// Adds the product of packed factors to the columns `columns` of some rows of sums.
fn add_tile<'s>(
    a: &[f64],
    b: &[f64],
    rows: impl Iterator<Item = &'s mut [f64]>,
    columns: Range<usize>,
) {
    let mut tile = [[0.0; cpu::TILE.1]; cpu::TILE.0];
    let mut rows: Vec<&mut [f64]> = rows.map(|row| &mut row[columns.clone()]).collect();
    for (tile, row) in tile.iter_mut().zip(&rows) {
        tile[..row.len()].copy_from_slice(row);
    }
    cpu::wide_tile(a, b, &mut tile);
    for (tile, row) in tile.iter().zip(&mut rows) {
        row.copy_from_slice(&tile[..columns.len()]);
    }
}
