//! Codes of a panel as indices of tables: a byte holds four bits of one row.

use super::ROWS;
use crate::ops::phase::cpu::panel::Rows;
use fearless_simd::{Avx2, kernel, prelude::*, u8x32, u32x4};
use std::arch::x86_64::*;

/// Streams of four groups of columns of a word, `[4 groups][4 streams][rows]`. The streams are those of two blocks, two
/// bits each; group g has columns g, 4 + g, 8 + g and 12 + g.
pub(super) type Word = [[u8; 32]; 16];

/// `[blocks / 2, words]`.
#[derive(Default)]
pub(in crate::ops::phase::cpu) struct Nibbles {
    words: usize,
    all: Vec<Word>,
    /// Scratch: the rows of both halves of 16 registers.
    rows: Vec<Unit>,
}

/// Four words of a row.
type Unit = [u32; 4];

/// Units of a row that are transposed one after the other.
const UNITS: usize = 16;

impl Nibbles {
    /// The words of every two blocks.
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

/// Index of a row among the halves of registers that are transposed: half `h` of register `n` has index `2 n + h`, and the
/// transposition moves its codes to byte `n` of half `h` of all registers. This order makes the 16-bit sums of even bytes,
/// then those of odd bytes, unpack to the 32-bit sums of rows in their order.
const fn index_of(row: usize) -> usize {
    2 * (row / 16 + 2 * (row % 4) + 8 * (row / 8 % 2)) + row / 4 % 2
}

/// Blocks of each plane: all planes together have an even number of them.
#[inline(always)]
fn blocks_of(planes: usize) -> usize {
    1 + planes % 2
}

/// Turns rows of codes into indices of tables. Missing rows are copies of the last one.
pub(super) fn pack(t: Avx2, rows: &Rows<'_>, nibbles: &mut Nibbles) {
    let blocks = blocks_of(rows.planes);
    nibbles.words = rows.words;
    nibbles
        .all
        .resize(blocks * rows.planes / 2 * rows.words, [[0; 32]; 16]);
    let mut copy = std::mem::take(&mut nibbles.rows);
    // rows are read one after the other, which memory does fastest, and copied an odd number of cache lines apart
    let len = rows.words * rows.planes;
    let stride = len.next_multiple_of(4 * UNITS) / 4 + 4;
    copy.resize(ROWS * stride, [0; 4]);
    for part in 0..blocks {
        for row in 0..ROWS {
            let source = (part * ROWS + row).min(rows.count - 1);
            let row_codes = &rows.codes[source * len..][..len];
            copy[index_of(row) * stride..].as_flattened_mut()[..len].copy_from_slice(row_codes);
        }
        pack_units(t, &copy, rows.planes, part, nibbles);
    }
    nibbles.rows = copy;
}

kernel!(
    fn pack_units(t: Avx2, rows: &[Unit], planes: usize, part: usize, nibbles: &mut Nibbles) {
        let units = (nibbles.words * planes).div_ceil(4);
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
                if planes.is_multiple_of(4) {
                    bytes_of_columns(t, bytes, first / planes, first % planes / 2, nibbles);
                } else {
                    words_of_planes(t, bytes, first, planes, part, nibbles);
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

/// Exchanges the bits of `b` that are set in `mask` with the bits of `a` that lie `BY` bits above them.
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

/// Bytes that each have the symbols of one column in four planes: column `4 k + g` lies in `columns[4 k + g]`.
#[target_feature(enable = "avx2")]
#[inline]
fn bytes_of_columns(
    t: Avx2,
    columns: [__m256i; 16],
    word: usize,
    pair: usize,
    nibbles: &mut Nibbles,
) {
    let mut pairs = nibbles.two(pair, word);
    for group in 0..4 {
        // first bits 0 of two columns become neighbours, and bits 1; then those of all four columns, in planes 0 and 2 and in
        // planes 1 and 3
        let first = exchanged::<1>(0x55, [columns[group], columns[4 + group]]);
        let second = exchanged::<1>(0x55, [columns[8 + group], columns[12 + group]]);
        for bit in 0..2 {
            let planes = exchanged::<2>(0x33, [first[bit], second[bit]]);
            for (plane, both) in planes.into_iter().enumerate() {
                let halves = split(t, both);
                for (pair, half) in pairs.iter_mut().zip(halves) {
                    half.store_slice(&mut pair[4 * group + 2 * plane + bit]);
                }
            }
        }
    }
}

/// For the four bits of two symbols, a byte that has both bits 0 in its lower half and both bits 1 in its upper half.
const APART: [u8; 16] = {
    let mut apart = [0; 16];
    let mut n = 0;
    while n < 16 {
        apart[n] = (n & 1 | n >> 1 & 2 | (n & 2) << 3 | (n & 8) << 2) as u8;
        n += 1;
    }
    apart
};

/// Word `first` of a row and the three behind it, each of one plane: byte g has the symbols of group g. The rows are those
/// of block `part` of each plane.
#[target_feature(enable = "avx2")]
#[inline]
fn words_of_planes(
    t: Avx2,
    bytes: [__m256i; 16],
    first: usize,
    planes: usize,
    part: usize,
    nibbles: &mut Nibbles,
) {
    let blocks = blocks_of(planes);
    let nibble = _mm256_set1_epi8(0x0f);
    let apart = crate::ops::phase::cpu::avx2::tables::load(t, &APART);
    for i in 0..4 {
        let (word, plane) = ((first + i) / planes, (first + i) % planes);
        if word == nibbles.words {
            return;
        }
        let block = plane * blocks + part;
        let streams = &mut nibbles.all[block / 2 * nibbles.words + word];
        for group in 0..4 {
            let bytes = bytes[4 * i + group];
            let low = _mm256_shuffle_epi8(apart, _mm256_and_si256(bytes, nibble));
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), nibble);
            let high = _mm256_slli_epi16::<2>(_mm256_shuffle_epi8(apart, high));
            let bits = split(t, _mm256_or_si256(low, high));
            let streams = &mut streams[4 * group + 2 * (block % 2)..];
            for (stream, bits) in streams.iter_mut().zip(bits) {
                bits.store_slice(stream);
            }
        }
    }
}
