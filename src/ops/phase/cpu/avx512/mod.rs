//! AVX-512: sums of four activations are looked up, four columns of each of 16 rows by one instruction.
//!
//! A bit plane of four columns is four bits, which select the activations to be added: one of 16 sums. A register of 64
//! bytes holds the 16 sums of all four groups of columns of a word, and an instruction that looks up 64 bytes at a time finds
//! those of 16 words, a row and plane each; another one adds the four bytes of each word to a sum of 32 bits. Bytes are
//! looked up, so that activations are cut into digits of six bits ([`tables`]). Multiplying bytes with masks takes a third
//! more instructions for activations of 8 bits, and half as many again for those of 16.

mod tables;

use super::panel::{Acts, Lanes, Rows};
use super::scale::{BitSums, Totals};
use super::words::{self, Words};
use crate::ops::cpu::prefetch;
use fearless_simd::{Avx512, i32x16, kernel, prelude::*, u32x16};
use std::arch::x86_64::*;
use std::ops::Range;
use tables::Tables;

/// Lanes of a panel: two registers, which share each table that is loaded.
pub(super) const LANES: usize = 32;

/// Bytes from the codes that are read to those that are asked for: what memory takes as long for as the codes between them
/// are multiplied.
const AHEAD: usize = 4096;

impl Lanes<LANES> for Avx512 {
    type Codes = [[u32; LANES]];
    type Packed = Words<LANES>;
    type Factors<'a> = Tables;

    fn factors(self, acts: Acts<'_>, tokens: usize) -> Tables {
        Tables::new(self, acts, tokens)
    }

    fn pack<'p>(self, rows: &Rows<'_>, codes: &'p mut Words<LANES>) -> &'p [[u32; LANES]] {
        words::pack(rows, codes);
        codes
    }

    fn laid(codes: &[u32]) -> Option<&[[u32; LANES]]> {
        Some(codes.as_chunks().0)
    }

    fn together(self, bytes: usize) -> usize {
        // tables are six or eight times as large; they stay in the second-level cache
        (768 << 10) / (8 * bytes)
    }

    fn tokens(self, byte_planes: usize) -> usize {
        // sums take 16 of 32 registers
        2 / byte_planes.max(1)
    }

    fn sums(
        self,
        codes: &[[u32; LANES]],
        tables: &Tables,
        words: Range<usize>,
        first: usize,
        out: &mut [BitSums<LANES>],
    ) {
        sums(
            self,
            &codes[words.clone()],
            tables,
            (first, words.start),
            out,
        );
    }

    fn values(self, totals: &Totals<'_, LANES>, out: &mut [[f32; LANES]; 2]) {
        values(self, totals, out);
    }
}

kernel!(
    fn values(t: Avx512, totals: &Totals<'_, LANES>, out: &mut [[f32; LANES]; 2]) {
        totals.values(out);
    }
);

kernel!(
    fn sums(
        t: Avx512,
        codes: &[[u32; LANES]],
        tables: &Tables,
        first: (usize, usize),
        out: &mut [BitSums<LANES>],
    ) {
        match (tables.digits, out) {
            (2, [a]) => tile::<1, 2>(t, codes, tables, first, [a]),
            (2, [a, b, ..]) => tile::<2, 2>(t, codes, tables, first, [a, b]),
            (_, [a, ..]) => tile::<1, 3>(t, codes, tables, first, [a]),
            (_, []) => {}
        }
    }
);

/// Sums of a register of codes and of a half of a token: of bit 0, of bit 1. The sums of the third digit stand apart.
type Sums = [[__m512i; 2]; 2];

/// Sums of `N` tokens of `D` digits from token `first` on, over the words of `codes`, which begin with word `word`.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni,gfni")]
#[inline]
fn tile<const N: usize, const D: usize>(
    t: Avx512,
    codes: &[[u32; LANES]],
    tables: &Tables,
    (first, word): (usize, usize),
    out: [&mut BitSums<LANES>; N],
) {
    let mut of_tokens = [tables.words::<D>(0, 0..0); N];
    for (n, words) in of_tokens.iter_mut().enumerate() {
        *words = tables.words::<D>(first + n, word..word + codes.len());
    }
    let zero = _mm512_setzero_si512();
    let ones = _mm512_set1_epi8(1);
    let unit = _mm512_set1_epi8(64);
    // [token][half][register]
    let mut sums: [[[Sums; 2]; 2]; N] = [[[[[zero; 2]; 2]; 2]; 2]; N];
    for (i, codes) in codes.iter().enumerate() {
        if first == 0 {
            // the first tokens read codes from memory
            prefetch(codes, AHEAD);
            prefetch(codes, AHEAD + 64);
        }
        let mut indices = [[zero; 2]; 2];
        for (register, indices) in indices.iter_mut().enumerate() {
            let lanes = u32x16::from_slice(t, &codes[register * 16..][..16]);
            *indices = indices_of(lanes.into());
        }
        for (words, sums) in of_tokens.iter().zip(&mut sums) {
            for (digits, sums) in words[i].iter().zip(sums) {
                for (d, digit) in digits.iter().enumerate() {
                    let table: __m512i = u32x16::from_slice(t, digit).into();
                    for (indices, sums) in indices.iter().zip(sums.iter_mut()) {
                        for bit in 0..2 {
                            let entry = _mm512_permutexvar_epi8(indices[bit], table);
                            let [sum, third] = &mut sums[bit];
                            // the last digit is signed, those before it are not
                            match (d, D) {
                                (0, _) => *sum = _mm512_dpbusd_epi32(*sum, entry, ones),
                                (1, 3) => *sum = _mm512_dpbusd_epi32(*sum, entry, unit),
                                (1, _) => *sum = _mm512_dpbusd_epi32(*sum, unit, entry),
                                _ => *third = _mm512_dpbusd_epi32(*third, ones, entry),
                            }
                        }
                    }
                }
            }
        }
    }
    for (out, sums) in out.into_iter().zip(&sums) {
        for (half, sums) in sums.iter().enumerate() {
            for (register, sums) in sums.iter().enumerate() {
                for (bit, [sum, third]) in sums.iter().enumerate() {
                    let mut sum = *sum;
                    if D == 3 {
                        sum = _mm512_add_epi32(sum, _mm512_slli_epi32::<12>(*third));
                    }
                    let lanes: i32x16<Avx512> = sum.simd_into(t);
                    lanes.store_slice(&mut out[2 * half + bit][register * 16..][..16]);
                }
            }
        }
    }
}

/// Moves the even bits of a byte to its lower half, and the odd ones to its upper half.
const APART: i64 = {
    let mut matrix = 0;
    let mut bit = 0;
    while bit < 8 {
        let source = 2 * (bit % 4) + bit / 4;
        // the rows of the matrix stand in the order of bytes, and the first one makes the last bit
        matrix |= 1 << source << (8 * (7 - bit));
        bit += 1;
    }
    matrix
};

/// Indices of the tables: bits 0 of the symbols of four columns, and bits 1. Byte g of a word has the symbols of group g.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
fn indices_of(codes: __m512i) -> [__m512i; 2] {
    const CHOSEN_OR: i32 = 0xea; // a & b | c
    let nibble = _mm512_set1_epi8(0x0f);
    let groups = _mm512_set1_epi32(0x3020_1000);
    let both = _mm512_gf2p8affine_epi64_epi8::<0>(codes, _mm512_set1_epi64(APART));
    [
        _mm512_ternarylogic_epi32::<CHOSEN_OR>(both, nibble, groups),
        _mm512_ternarylogic_epi32::<CHOSEN_OR>(_mm512_srli_epi16::<4>(both), nibble, groups),
    ]
}
