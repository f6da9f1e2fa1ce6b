//! Codes of a panel as places in tables: four bits a byte, a row a byte.

use super::ROWS;
use crate::ops::phase::cpu::panel::Rows;
use fearless_simd::{Avx2, kernel, prelude::*, u8x32, u32x4};
use std::arch::x86_64::*;

/// Streams of four groups of columns of a word, `[4 groups][4 streams][rows]`. The streams are those of two terms, two
/// bits each; group g has columns g, 4 + g, 8 + g and 12 + g.
pub(super) type Word = [[u8; 32]; 16];

/// `[terms / 2, words]`.
#[derive(Default)]
pub(in crate::ops::phase::cpu) struct Nibbles {
    words: usize,
    all: Vec<Word>,
    /// Scratch: the rows of both halves of 16 registers.
    rows: Vec<Unit>,
}

/// Four words of a row.
type Unit = [u32; 4];

/// Units of a row that are turned one after the other.
const UNITS: usize = 16;

impl Nibbles {
    /// The words of every two terms.
    #[inline(always)]
    pub(super) fn pairs(&self) -> impl Iterator<Item = &[Word]> {
        self.all.chunks_exact(self.words)
    }

    /// Word `word` of pair `pair` and of the one behind it.
    #[inline(always)]
    fn two(&mut self, pair: usize, word: usize) -> [&mut Word; 2] {
        let (first, second) = self.all.split_at_mut((pair + 1) * self.words);
        [&mut first[pair * self.words + word], &mut second[word]]
    }
}

/// Where a row goes: to half `h` of register `n` at `2 n + h`, from where its codes get to byte n of half h of others. So
/// that 16-bit sums of even bytes, then of odd ones, unpacked to 32 bits, are those of rows in order.
const fn place_of(row: usize) -> usize {
    2 * (row / 16 + 2 * (row % 4) + 8 * (row / 8 % 2)) + row / 4 % 2
}

/// Turns rows of codes into places. Rows that are missing are copies of the last one.
pub(super) fn pack(t: Avx2, rows: &Rows<'_>, to: &mut Nibbles) {
    to.words = rows.words;
    to.all.resize(rows.terms / 2 * rows.words, [[0; 32]; 16]);
    let mut copy = std::mem::take(&mut to.rows);
    // one row after the other, as memory is fast that way; an odd number of cache lines from each to the next
    let len = rows.words * rows.terms;
    let stride = len.next_multiple_of(4 * UNITS) / 4 + 4;
    copy.resize(ROWS * stride, [0; 4]);
    for row in 0..ROWS {
        let from = &rows.codes[row.min(rows.count - 1) * len..][..len];
        copy[place_of(row) * stride..].as_flattened_mut()[..len].copy_from_slice(from);
    }
    pack_units(t, &copy, rows.terms, to);
    to.rows = copy;
}

kernel!(
    fn pack_units(t: Avx2, rows: &[Unit], terms: usize, to: &mut Nibbles) {
        let units = (to.words * terms).div_ceil(4);
        for first in (0..units).step_by(UNITS) {
            let mut block = [&[[0; 4]; UNITS]; ROWS];
            for (row, block) in rows.chunks_exact(rows.len() / ROWS).zip(&mut block) {
                if let Some(row) = row[first..].first_chunk() {
                    *block = row;
                }
            }
            for i in 0..UNITS.min(units - first) {
                let bytes = transposed(t, &block, i);
                let first = 4 * (first + i);
                if terms.is_multiple_of(4) {
                    bytes_of_columns(t, bytes, first / terms, first % terms / 2, to);
                } else {
                    words_of_terms(t, bytes, first, terms, to);
                }
            }
        }
    }
);

/// Byte i of all rows.
#[target_feature(enable = "avx2")]
#[inline]
fn transposed(t: Avx2, rows: &[&[Unit; UNITS]; ROWS], unit: usize) -> [__m256i; 16] {
    let mut all = [_mm256_setzero_si256(); 16];
    for (n, all) in all.iter_mut().enumerate() {
        let low: __m128i = u32x4::from_slice(t, &rows[2 * n][unit]).into();
        let high: __m128i = u32x4::from_slice(t, &rows[2 * n + 1][unit]).into();
        *all = _mm256_set_m128i(high, low);
    }
    // four times: the first half of the registers interleaved with the second
    for _ in 0..4 {
        let mut next = all;
        for i in 0..8 {
            next[2 * i] = _mm256_unpacklo_epi8(all[i], all[i + 8]);
            next[2 * i + 1] = _mm256_unpackhi_epi8(all[i], all[i + 8]);
        }
        all = next;
    }
    all
}

/// The bits of `b` that `mask` has change places with those of `a` that lie `BY` places above.
#[target_feature(enable = "avx2")]
#[inline]
fn exchanged<const BY: i32>(mask: i8, [a, b]: [__m256i; 2]) -> [__m256i; 2] {
    let differ = _mm256_xor_si256(_mm256_srli_epi16::<BY>(a), b);
    let differ = _mm256_and_si256(differ, _mm256_set1_epi8(mask));
    [
        _mm256_xor_si256(a, _mm256_slli_epi16::<BY>(differ)),
        _mm256_xor_si256(b, differ),
    ]
}

/// The lower and the upper four bits of bytes.
#[target_feature(enable = "avx2")]
#[inline]
fn split(t: Avx2, both: __m256i) -> [u8x32<Avx2>; 2] {
    let nibble = _mm256_set1_epi8(0x0f);
    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(both), nibble);
    [
        _mm256_and_si256(both, nibble).simd_into(t),
        high.simd_into(t),
    ]
}

/// Symbols of four terms in a byte a column: column `4 k + g` lies in `columns[4 k + g]`.
#[target_feature(enable = "avx2")]
#[inline]
fn bytes_of_columns(t: Avx2, columns: [__m256i; 16], word: usize, pair: usize, to: &mut Nibbles) {
    let mut to = to.two(pair, word);
    for group in 0..4 {
        // bit 0 of two columns side by side, bit 1; then those of all four, of terms 0 and 2, of terms 1 and 3
        let first = exchanged::<1>(0x55, [columns[group], columns[4 + group]]);
        let second = exchanged::<1>(0x55, [columns[8 + group], columns[12 + group]]);
        for bit in 0..2 {
            let terms = exchanged::<2>(0x33, [first[bit], second[bit]]);
            for (term, both) in terms.into_iter().enumerate() {
                let halves = split(t, both);
                for (to, half) in to.iter_mut().zip(halves) {
                    half.store_slice(&mut to[4 * group + 2 * term + bit]);
                }
            }
        }
    }
}

/// Where the bits of two symbols belong: those of bit 0 in the lower half of a byte, bit 1 in the upper.
const APART: [u8; 16] = {
    let mut apart = [0; 16];
    let mut n = 0;
    while n < 16 {
        apart[n] = (n & 1 | n >> 1 & 2 | (n & 2) << 3 | (n & 8) << 2) as u8;
        n += 1;
    }
    apart
};

/// Four words, word `first` of a row and those behind it, each of one term: byte g has the symbols of group g.
#[target_feature(enable = "avx2")]
#[inline]
fn words_of_terms(t: Avx2, bytes: [__m256i; 16], first: usize, terms: usize, to: &mut Nibbles) {
    let nibble = _mm256_set1_epi8(0x0f);
    let apart = crate::ops::phase::cpu::avx2::tables::load(t, &APART);
    for (i, bytes) in bytes.into_iter().enumerate() {
        let (word, term) = ((first + i / 4) / terms, (first + i / 4) % terms);
        if word == to.words {
            return;
        }
        let low = _mm256_shuffle_epi8(apart, _mm256_and_si256(bytes, nibble));
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), nibble);
        let high = _mm256_slli_epi16::<2>(_mm256_shuffle_epi8(apart, high));
        let bits = split(t, _mm256_or_si256(low, high));
        let streams = &mut to.all[term / 2 * to.words + word][4 * (i % 4) + 2 * (term % 2)..];
        for (to, bits) in streams.iter_mut().zip(bits) {
            bits.store_slice(to);
        }
    }
}
