//! AVX2: sums of four activations are looked up, 32 rows by one instruction.
//!
//! A bit plane of four columns is four bits, which select the activations to be added: one of 16 sums. An
//! instruction that shuffles bytes looks up 32 of them at a time, for one plane of 32 rows. It looks up bytes, so
//! activations are cut into digits of four bits ([`tables`]), and sums of 16 columns stay below 256. Multiplying bytes
//! with masks takes twice as many instructions.

mod nibbles;
mod tables;

use super::panel::{Acts, Lanes, Rows};
use super::scale::{BitSums, Totals};
use fearless_simd::{Avx2, i32x8, kernel, prelude::*, u8x32};
use nibbles::{Bytes, Nibbles};
use std::arch::x86_64::*;
use std::cell::RefCell;
use std::ops::Range;
use tables::{BIAS, Tables};

/// Rows of a register, one to a byte.
///
/// A plane of so many rows is a *block*, and sums are made of two blocks at a time. A panel of an even number of planes has
/// one register of rows, whose blocks are the planes. A panel of an odd number has two, and the two blocks of a plane are
/// neighbours.
const ROWS: usize = 32;

/// Words after which sums move on to 32 bits: sums of a digit stay below 2^15, and four streams of this
/// many words read what fits into half of the smallest first-level cache.
const WORDS: usize = 32;

impl<const L: usize> Lanes<L> for Avx2 {
    type Codes = [Bytes];
    type Packed = Vec<Bytes>;
    type Factors<'a> = Tables;

    fn factors(self, acts: Acts<'_>, tokens: usize) -> Tables {
        Tables::new(self, acts, tokens)
    }

    fn pack<'p>(self, rows: &Rows<'_>, codes: &'p mut Vec<Bytes>) -> &'p [Bytes] {
        nibbles::pack(rows, codes);
        codes
    }

    fn laid(codes: &[u32]) -> Option<&[Bytes]> {
        Some(bytemuck::cast_slice(codes))
    }

    fn together(self, bytes: usize) -> usize {
        // tables are eight times as large; a share of the third-level cache will do
        (2 << 20) / (8 * bytes)
    }

    fn tokens(self, _byte_planes: usize) -> usize {
        // the sums of one fill the 16 registers, but codes are brought into streams once for all of these
        4
    }

    fn sums(
        self,
        codes: &[Bytes],
        tables: &Tables,
        words: Range<usize>,
        first: usize,
        out: &mut [BitSums<L>],
    ) {
        let tokens = first..first + out.len();
        let out = out.as_flattened_mut().as_flattened_mut();
        NIBBLES.with_borrow_mut(|nibbles| sums(self, codes, tables, (tokens, words), nibbles, out));
    }

    fn values(self, totals: &Totals<'_, L>, out: &mut [[f32; L]; 2]) {
        self.vectorize(
            #[inline(always)]
            || totals.values(out),
        );
    }
}

thread_local! {
    /// Memory of a thread, because clearing it for every panel would take longer than reading a few words of codes.
    static NIBBLES: RefCell<Nibbles> = RefCell::default();
}

kernel!(
    fn sums(
        t: Avx2,
        codes: &[Bytes],
        tables: &Tables,
        tokens_and_words: (Range<usize>, Range<usize>),
        nibbles: &mut Nibbles,
        out: &mut [i32],
    ) {
        match tables.digits {
            2 => sums_of::<2>(t, codes, tables, tokens_and_words, nibbles, out),
            _ => sums_of::<4>(t, codes, tables, tokens_and_words, nibbles, out),
        }
    }
);

/// Sums of a digit in 16 bits: of the even rows, of the odd ones.
type Short = [__m256i; 2];

/// Sums over `words` into `out`, token by token, planes as [`BitSums`] has them, each with [`ROWS`] lanes a block.
#[target_feature(enable = "avx2")]
#[inline]
fn sums_of<const D: usize>(
    t: Avx2,
    codes: &[Bytes],
    tables: &Tables,
    (tokens, words): (Range<usize>, Range<usize>),
    nibbles: &mut Nibbles,
    out: &mut [i32],
) {
    let len = out.len() / tokens.len() / 4;
    let from_memory = tokens.start == 0; // the first tokens read codes from there
    out.fill(0);
    for (pair, codes) in codes.chunks_exact(tables.words).enumerate() {
        for first in words.clone().step_by(WORDS) {
            let range = first..(first + WORDS).min(words.end);
            let codes = nibbles.split(t, &codes[range.clone()], from_memory);
            for (token, out) in tokens.clone().zip(out.chunks_exact_mut(4 * len)) {
                for half in 0..2 {
                    let tables = |d| tables.digit(token, half, d, range.clone());
                    let (_, out) = out.split_at_mut(2 * half * len);
                    half_sums::<D>(t, codes, tables, out, (2 * pair * ROWS, len));
                }
            }
        }
    }
}

/// Adds sums over at most [`WORDS`] words of the four streams of two blocks: those of a bit are `len` apart in `out`, where
/// those of the first block begin at `index`.
#[target_feature(enable = "avx2")]
#[inline]
fn half_sums<'a, const D: usize>(
    t: Avx2,
    codes: &[[[[u8; 32]; 4]; 4]],
    tables: impl Fn(usize) -> &'a [[[u8; 16]; 4]],
    out: &mut [i32],
    (index, len): (usize, usize),
) {
    let mut digits = [[[_mm256_setzero_si256(); 2]; 4]; D];
    for (d, sums) in digits.iter_mut().enumerate() {
        *sums = short_sums(t, codes, tables(d));
    }
    for stream in 0..4 {
        let mut all = [digits[0][stream]; D];
        for (all, digit) in all.iter_mut().zip(&digits) {
            *all = digit[stream];
        }
        let out = &mut out[stream % 2 * len + index + stream / 2 * ROWS..][..ROWS];
        add_digits(t, all, codes.len(), out);
    }
}

/// Sums of the four streams of two blocks over at most [`WORDS`] words.
#[target_feature(enable = "avx2")]
#[inline(never)] // inlined, it shares registers with the sums of other digits, and has too few
fn short_sums(t: Avx2, codes: &[[[[u8; 32]; 4]; 4]], tables: &[[[u8; 16]; 4]]) -> [Short; 4] {
    let mut pairs = [_mm256_setzero_si256(); 4];
    let mut odd = [_mm256_setzero_si256(); 4];
    for (codes, tables) in codes.iter().zip(tables) {
        let mut bytes = [_mm256_setzero_si256(); 4];
        for (codes, table) in codes.iter().zip(tables) {
            let table = tables::load(t, table);
            for (bytes, codes) in bytes.iter_mut().zip(codes) {
                let codes: __m256i = u8x32::from_slice(t, codes).into();
                *bytes = _mm256_add_epi8(*bytes, _mm256_shuffle_epi8(table, codes));
            }
        }
        for ((pairs, odd), bytes) in pairs.iter_mut().zip(&mut odd).zip(bytes) {
            *pairs = _mm256_add_epi16(*pairs, bytes);
            *odd = _mm256_add_epi16(*odd, _mm256_srli_epi16::<8>(bytes));
        }
    }
    // the sums of pairs are 256 times those of the odd bytes and those of the even ones, modulo 2^16
    let mut sums = [[pairs[0]; 2]; 4];
    for ((sums, pairs), odd) in sums.iter_mut().zip(pairs).zip(odd) {
        *sums = [_mm256_sub_epi16(pairs, _mm256_slli_epi16::<8>(odd)), odd];
    }
    sums
}

/// Adds the digits' sums of a stream over `words` words to those of its rows, less what the tables have too much.
#[target_feature(enable = "avx2")]
#[inline]
fn add_digits<const D: usize>(t: Avx2, digits: [Short; D], words: usize, out: &mut [i32]) {
    let bias = BIAS * 4 * words as i32 * (1 << (4 * (D - 1)));
    let bias = _mm256_set1_epi32(bias);
    let weights = [
        _mm256_set1_epi32(16 << 16 | 1),
        _mm256_set1_epi32(4096 << 16 | 256),
    ];
    let (out, _) = out.as_chunks_mut::<8>();
    for odd in 0..2 {
        let mut sums = [_mm256_sub_epi32(_mm256_setzero_si256(), bias); 2];
        for two in 0..D / 2 {
            let (low, high) = (digits[2 * two][odd], digits[2 * two + 1][odd]);
            let pairs = [
                _mm256_unpacklo_epi16(low, high),
                _mm256_unpackhi_epi16(low, high),
            ];
            for (sum, pairs) in sums.iter_mut().zip(pairs) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, weights[two]));
            }
        }
        for (sum, out) in sums.into_iter().zip(&mut out[2 * odd..]) {
            let before: __m256i = i32x8::from_slice(t, out).into();
            let sum: i32x8<Avx2> = _mm256_add_epi32(before, sum).simd_into(t);
            sum.store_slice(out);
        }
    }
}
