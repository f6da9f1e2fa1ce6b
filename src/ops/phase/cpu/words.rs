//! Panels of words side by side, for kernels whose lanes are words: lane `row * planes + plane`.

use super::panel::Rows;
use crate::ops::phase::codes::transposed;

/// `[words]`, a word in every lane.
pub(super) type Words<const L: usize> = Vec<[u32; L]>;

/// Copies rows of codes side by side; lanes of missing rows keep what they had.
pub(super) fn pack<const L: usize>(rows: &Rows<'_>, words: &mut Words<L>) {
    words.resize(rows.words, [0; L]);
    match rows.planes {
        1 => pack_planes::<L, 1>(rows, words),
        2 => pack_planes::<L, 2>(rows, words),
        3 => pack_planes::<L, 3>(rows, words),
        4 => pack_planes::<L, 4>(rows, words),
        6 => pack_planes::<L, 6>(rows, words),
        _ => pack_planes::<L, 8>(rows, words),
    }
}

fn pack_planes<const L: usize, const T: usize>(rows: &Rows<'_>, words: &mut [[u32; L]]) {
    for i in 0..rows.count {
        let row = &rows.codes[i * rows.words * T..][..rows.words * T];
        let (row, row_rest) = row.as_chunks::<T>().0.as_chunks::<4>();
        let (fours, rest) = words.as_chunks_mut::<4>();
        for (four, row) in fours.iter_mut().zip(row) {
            for word in 0..4 {
                four[word].as_chunks_mut::<T>().0[i] = row[word];
            }
        }
        for (word, row) in rest.iter_mut().zip(row_rest) {
            word.as_chunks_mut::<T>().0[i] = *row;
        }
    }
}

/// Turns bytes of one column each into words of one plane each, in all lanes, where codes are stored as such bytes.
#[inline(always)]
pub(super) fn words_of_planes<const L: usize>(planes: usize, codes: &mut [[u32; L]]) {
    if planes.is_multiple_of(4) {
        for four in codes.as_flattened_mut().as_chunks_mut::<4>().0 {
            *four = transposed(*four);
        }
    }
}
