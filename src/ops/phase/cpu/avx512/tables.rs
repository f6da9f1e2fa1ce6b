//! Sums of every choice among four activations, a digit of six bits at a time.

use crate::ops::phase::cpu::panel::Acts;
use fearless_simd::{Avx512, kernel, prelude::*, u8x16, u32x16};
use std::arch::x86_64::*;
use std::ops::Range;

/// 16 bytes for each group of columns: those whose index modulo four is 0, 1, 2, 3. Entry n of a group has the sum of those
/// columns whose bits are set in n; as words, so that it is aligned.
type Table = [u32; 16];

/// The tables of some tokens: `[tokens, words, (re, im), digits]`; digit d counts 64^d, and the last one is signed.
pub(in crate::ops::phase::cpu) struct Tables {
    tables: Vec<Table>,
    words: usize,
    /// Digits of an activation: 2 or 3.
    pub digits: usize,
}

impl Tables {
    pub(crate) fn new(t: Avx512, acts: Acts<'_>, tokens: usize) -> Self {
        let (words, digits) = (acts.words, 1 + acts.byte_planes);
        let mut tables = vec![[0; 16]; tokens * words * 2 * digits];
        let token = (words * 2 * digits).max(1);
        let chunks: Vec<_> = tables.chunks_exact_mut(token).enumerate().collect();
        // a table takes some two nanoseconds
        crate::ops::cpu::each_worth(chunks, 2 * token, |(n, tables)| match digits {
            2 => fill_two(t, acts, n, tables),
            _ => fill_three(t, acts, n, tables),
        });
        Self {
            tables,
            words,
            digits,
        }
    }

    /// The tables of `D` digits, [`Tables::digits`], at these words of a token: `[word][re, im][digit]`.
    #[inline(always)]
    pub(crate) fn words<const D: usize>(
        &self,
        token: usize,
        words: Range<usize>,
    ) -> &[[[Table; D]; 2]] {
        let digits = self.tables.as_chunks::<D>().0;
        let all = digits.as_chunks::<2>().0;
        &all[token * self.words + words.start..token * self.words + words.end]
    }
}

kernel!(
    fn fill_two(t: Avx512, acts: Acts<'_>, token: usize, tables: &mut [Table]) {
        let words = tables.as_chunks_mut::<2>().0.as_chunks_mut::<2>().0;
        for half in 0..2 {
            let plane = acts.plane(token, half, 0, 0, acts.words);
            for (x, word) in plane.iter().zip(words.iter_mut()) {
                let x = load(t, x);
                let top = _mm_and_si128(_mm_srli_epi16::<6>(x), _mm_set1_epi8(3));
                put(t, low(x), &mut word[half][0]);
                put(t, signed(top, 2), &mut word[half][1]);
            }
        }
    }
);

kernel!(
    fn fill_three(t: Avx512, acts: Acts<'_>, token: usize, tables: &mut [Table]) {
        let words = tables.as_chunks_mut::<3>().0.as_chunks_mut::<2>().0;
        for half in 0..2 {
            let [high_plane, low_plane] =
                [0, 1].map(|plane| acts.plane(token, half, plane, 0, acts.words));
            for ((high, x), word) in high_plane.iter().zip(low_plane).zip(words.iter_mut()) {
                let (high, x) = (load(t, high), load(t, x));
                let nibble = _mm_set1_epi8(0x0f);
                let above = _mm_slli_epi16::<2>(_mm_and_si128(high, nibble));
                let below = _mm_and_si128(_mm_srli_epi16::<6>(x), _mm_set1_epi8(3));
                let top = _mm_and_si128(_mm_srli_epi16::<4>(high), nibble);
                put(t, low(x), &mut word[half][0]);
                put(t, _mm_or_si128(above, below), &mut word[half][1]);
                put(t, signed(top, 8), &mut word[half][2]);
            }
        }
    }
);

/// A byte of 16 columns.
#[target_feature(enable = "avx512f")]
#[inline]
fn load(t: Avx512, x: &[u32; 4]) -> __m128i {
    u8x16::from_slice(t, bytemuck::cast_slice(x)).into()
}

/// The lower six bits of bytes.
#[target_feature(enable = "avx512f")]
#[inline]
fn low(x: __m128i) -> __m128i {
    _mm_and_si128(x, _mm_set1_epi8(0x3f))
}

/// Digits whose highest bit, `sign`, counts negative.
#[target_feature(enable = "avx512f")]
#[inline]
fn signed(digits: __m128i, sign: i8) -> __m128i {
    let sign = _mm_set1_epi8(sign);
    _mm_sub_epi8(_mm_xor_si128(digits, sign), sign)
}

/// The table of the digits of 16 columns.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline]
fn put(t: Avx512, digits: __m128i, table: &mut Table) {
    // which of 16 columns stands in a byte of the table: the first of its group
    let group = _mm512_set_epi32(
        0x0303_0303,
        0x0303_0303,
        0x0303_0303,
        0x0303_0303,
        0x0202_0202,
        0x0202_0202,
        0x0202_0202,
        0x0202_0202,
        0x0101_0101,
        0x0101_0101,
        0x0101_0101,
        0x0101_0101,
        0,
        0,
        0,
        0,
    );
    let all = _mm512_broadcast_i32x4(digits);
    // entries whose index has bit 0, 1, 2, 3
    const CHOSEN: [u64; 4] = [
        0xaaaa_aaaa_aaaa_aaaa,
        0xcccc_cccc_cccc_cccc,
        0xf0f0_f0f0_f0f0_f0f0,
        0xff00_ff00_ff00_ff00,
    ];
    let mut sum = _mm512_setzero_si512();
    for (k, chosen) in CHOSEN.into_iter().enumerate() {
        let column = _mm512_add_epi8(group, _mm512_set1_epi8(4 * k as i8));
        let columns = _mm512_maskz_permutexvar_epi8(chosen, column, all);
        sum = _mm512_add_epi8(sum, columns);
    }
    let lanes: u32x16<Avx512> = sum.simd_into(t);
    lanes.store_slice(table);
}
