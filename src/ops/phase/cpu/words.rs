//! Panels of words side by side, for kernels whose lanes are words: lane `plane * rows + row`.

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
    let panel_rows = L / T;
    for i in 0..rows.count {
        let row = &rows.codes[i * rows.words * T..][..rows.words * T];
        for (word, row) in words.iter_mut().zip(row.as_chunks::<T>().0) {
            let planes = words_of_planes(*row);
            for (plane, code) in planes.into_iter().enumerate() {
                word[plane * panel_rows + i] = code;
            }
        }
    }
}

/// Turns bytes of one column each into words of one plane each, where codes are stored as such bytes.
#[inline(always)]
fn words_of_planes<const T: usize>(mut row: [u32; T]) -> [u32; T] {
    if T.is_multiple_of(4) {
        for four in row.as_chunks_mut::<4>().0 {
            *four = transposed(*four);
        }
    }
    row
}
