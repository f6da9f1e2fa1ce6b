//! Sums of every choice among four activations, a digit of four bits at a time.

use crate::ops::phase::cpu::panel::Acts;
use fearless_simd::{Avx2, kernel, prelude::*, u8x16, u8x32};
use std::arch::x86_64::*;
use std::ops::Range;

/// This is added to sums of the highest digit, which is signed.
pub(super) const BIAS: i32 = 32;

/// Tables of four groups of four columns: those whose index modulo four is 0, 1, 2, 3.
type Word = [[u8; 16]; 4];

/// The tables of some tokens: `[tokens, (re, im), digits, words]`; digit d counts 16^d.
pub(in crate::ops::phase::cpu) struct Tables {
    tables: Vec<Word>,
    pub words: usize,
    /// Digits of an activation: 2 or 4.
    pub digits: usize,
}

impl Tables {
    pub(crate) fn new(t: Avx2, acts: Acts<'_>, tokens: usize) -> Self {
        let (words, digits) = (acts.words, 2 * acts.byte_planes);
        let mut tables = vec![[[0; 16]; 4]; tokens * 2 * digits * words];
        let token = (2 * digits * words).max(1);
        let chunks: Vec<_> = tables.chunks_exact_mut(token).enumerate().collect();
        // half a nanosecond a table, four of them a word
        crate::ops::cpu::each_worth(chunks, 2 * token, |(n, tables)| fill(t, acts, n, tables));
        Self {
            tables,
            words,
            digits,
        }
    }

    /// Tables of digit `d` of the real (0) or imaginary (1) parts of a token.
    #[inline(always)]
    pub(crate) fn digit(
        &self,
        token: usize,
        half: usize,
        d: usize,
        words: Range<usize>,
    ) -> &[Word] {
        let first = ((token * 2 + half) * self.digits + d) * self.words;
        &self.tables[first + words.start..first + words.end]
    }
}

/// A table in both halves of a register.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn load(t: Avx2, table: &[u8; 16]) -> __m256i {
    let table: __m128i = u8x16::from_slice(t, table).into();
    _mm256_broadcastsi128_si256(table)
}

kernel!(
    fn fill(t: Avx2, acts: Acts<'_>, token: usize, tables: &mut [Word]) {
        let (words, planes) = (acts.words, acts.byte_planes);
        for (i, tables) in tables.chunks_exact_mut(2 * words).enumerate() {
            let (half, plane) = (i / planes, planes - 1 - i % planes);
            let (low, high) = tables.split_at_mut(words);
            let x = acts.plane(token, half, plane, 0, words);
            for ((x, low), high) in x.iter().zip(low).zip(high) {
                let x = load(t, bytemuck::cast_ref(x));
                let digit = _mm256_set1_epi8(0x0f);
                put(t, _mm256_and_si256(x, digit), false, low);
                let x = _mm256_and_si256(_mm256_srli_epi16::<4>(x), digit);
                put(t, x, plane == 0, high);
            }
        }
    }
);

/// Tables of the 16 digits in each half of `x`.
#[target_feature(enable = "avx2")]
#[inline]
fn put(t: Avx2, x: __m256i, signed: bool, tables: &mut Word) {
    // entry n has the digits whose bits are set in n; signed ones are 8 less than what is added, and 32 more together
    let eight = _mm256_set1_epi8(8);
    let x = if signed {
        _mm256_xor_si256(x, eight)
    } else {
        x
    };
    let entry = load(t, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    let (out, _) = tables.as_flattened_mut().as_chunks_mut::<32>();
    for (two, out) in out.iter_mut().enumerate() {
        let mut sums = _mm256_setzero_si256();
        for k in 0..4 {
            let place = 4 * k + 2 * two as i8;
            let place = _mm256_set_m128i(_mm_set1_epi8(place + 1), _mm_set1_epi8(place));
            let bit = _mm256_set1_epi8(1 << k);
            let chosen = _mm256_cmpeq_epi8(_mm256_and_si256(entry, bit), bit);
            let x = _mm256_shuffle_epi8(x, place);
            let other = if signed {
                eight
            } else {
                _mm256_setzero_si256()
            };
            sums = _mm256_add_epi8(sums, _mm256_blendv_epi8(other, x, chosen));
        }
        let sums: u8x32<Avx2> = sums.simd_into(t);
        sums.store_slice(out);
    }
}
