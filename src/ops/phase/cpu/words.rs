//! Panels of words side by side, for kernels whose lanes are words: lane `row * terms + term`.

use super::panel::Rows;
use super::transposed;

/// `[words]`, a word in every lane.
pub(super) type Words<const L: usize> = Vec<[u32; L]>;

/// Copies rows of codes side by side; lanes of missing rows keep what they had.
pub(super) fn pack<const L: usize>(rows: &Rows<'_>, to: &mut Words<L>) {
    to.resize(rows.words, [0; L]);
    match rows.terms {
        2 => pack_terms::<L, 2>(rows, to),
        4 => pack_terms::<L, 4>(rows, to),
        6 => pack_terms::<L, 6>(rows, to),
        _ => pack_terms::<L, 8>(rows, to),
    }
}

fn pack_terms<const L: usize, const T: usize>(rows: &Rows<'_>, to: &mut [[u32; L]]) {
    for i in 0..rows.count {
        let from = &rows.codes[i * rows.words * T..][..rows.words * T];
        let (from, from_rest) = from.as_chunks::<T>().0.as_chunks::<4>();
        let (to, to_rest) = to.as_chunks_mut::<4>();
        for (to, from) in to.iter_mut().zip(from) {
            for word in 0..4 {
                to[word].as_chunks_mut::<T>().0[i] = from[word];
            }
        }
        for (to, from) in to_rest.iter_mut().zip(from_rest) {
            to.as_chunks_mut::<T>().0[i] = *from;
        }
    }
}

/// From a byte a column to a word a term, in all lanes, where that is how codes lie.
#[inline(always)]
pub(super) fn words_of_terms<const L: usize>(terms: usize, codes: &mut [[u32; L]]) {
    if terms.is_multiple_of(4) {
        for four in codes.as_flattened_mut().as_chunks_mut::<4>().0 {
            *four = transposed(*four);
        }
    }
}
