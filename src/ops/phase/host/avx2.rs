//! AVX2: 8 lanes of 4 bytes; products are added in pairs to 16 bits, and those in pairs to 32 bits.

use super::panel::{Acts, Lanes, Planes, words_of_terms};
use super::scale::Totals;
use fearless_simd::{Avx2, i32x8, kernel, prelude::*, u32x8};
use std::arch::x86_64::*;

/// Lanes of a panel: four registers, one after the other, so that scaling and rounding have enough to do.
const LANES: usize = 32;

/// Words after which the 16-bit sums could overflow: 4 pairs of 2 * 255, doubled, in each.
const WORDS: usize = 8;

impl Lanes<LANES> for Avx2 {
    fn tokens(self, _planes: usize) -> usize {
        // 8 sums and what they are made of fill the 16 registers
        1
    }

    fn sums(
        self,
        codes: &[[u32; LANES]],
        acts: &Acts<'_>,
        first: usize,
        word: usize,
        out: &mut [Planes<LANES>],
    ) {
        for (token, out) in out.iter_mut().enumerate() {
            sums(self, codes, acts, first + token, word, out);
        }
    }

    fn words_of_terms(self, codes: &mut [[u32; LANES]]) {
        words(self, codes);
    }

    fn values(self, totals: &Totals<'_, LANES>) -> [[f32; LANES]; 2] {
        values(self, totals)
    }
}

kernel!(
    fn words(t: Avx2, codes: &mut [[u32; LANES]]) {
        words_of_terms(codes);
    }
);

kernel!(
    fn values(t: Avx2, totals: &Totals<'_, LANES>) -> [[f32; LANES]; 2] {
        totals.values()
    }
);

kernel!(
    fn sums(
        t: Avx2,
        codes: &[[u32; LANES]],
        acts: &Acts<'_>,
        token: usize,
        word: usize,
        out: &mut Planes<LANES>,
    ) {
        for register in 0..LANES / 8 {
            match acts.planes {
                1 => part_sums::<1>(t, codes, register, acts, (token, word), out),
                _ => part_sums::<2>(t, codes, register, acts, (token, word), out),
            }
        }
    }
);

/// Sums `[byte plane][re bit 0, re bit 1, im bit 0, im bit 1]`, those of bit 1 doubled.
type Sums<const P: usize> = [[__m256i; 4]; P];

/// Sums of the lanes of register `register`.
#[target_feature(enable = "avx2")]
#[inline]
fn part_sums<const P: usize>(
    t: Avx2,
    codes: &[[u32; LANES]],
    register: usize,
    acts: &Acts<'_>,
    (token, word): (usize, usize),
    out: &mut Planes<LANES>,
) {
    let count = codes.len();
    let ones = _mm256_set1_epi16(1);
    let mut all = [[_mm256_setzero_si256(); 4]; P];
    for from in (0..count).step_by(WORDS) {
        let to = (from + WORDS).min(count);
        let x = acts.token(token, word + from, to - from);
        let sums = short_sums::<P>(t, &codes[from..to], register, x);
        for (all, sums) in all.iter_mut().flatten().zip(sums.iter().flatten()) {
            *all = _mm256_add_epi32(*all, _mm256_madd_epi16(*sums, ones));
        }
    }
    for i in 0..4 {
        // halved before anything grows: the sum of a long row just fits
        let halved = |s| {
            if i % 2 == 1 {
                _mm256_srai_epi32::<1>(s)
            } else {
                s
            }
        };
        let mut sum = halved(all[0][i]);
        if P == 2 {
            sum = _mm256_add_epi32(_mm256_slli_epi32::<8>(sum), halved(all[1][i]));
        }
        let lanes: i32x8<Avx2> = sum.simd_into(t);
        lanes.store_slice(&mut out[i][8 * register..][..8]);
    }
}

/// Sums of at most [`WORDS`] words in 16 bits, two to a lane.
#[target_feature(enable = "avx2")]
#[inline]
fn short_sums<const P: usize>(
    t: Avx2,
    codes: &[[u32; LANES]],
    register: usize,
    x: [[&[[u32; 4]]; P]; 2],
) -> Sums<P> {
    let count = codes.len();
    let bits = [
        _mm256_set1_epi32(0x0101_0101),
        _mm256_set1_epi32(0x0202_0202),
    ];
    let mut sums = [[_mm256_setzero_si256(); 4]; P];
    for i in 0..count {
        let mut code: __m256i = u32x8::from_slice(t, &codes[i][8 * register..][..8]).into();
        for m in 0..4 {
            let masks = [
                _mm256_and_si256(code, bits[0]),
                _mm256_and_si256(code, bits[1]),
            ];
            for part in 0..2 {
                for p in 0..P {
                    let x = _mm256_set1_epi32(x[part][p][i][m] as i32);
                    for bit in 0..2 {
                        // the first byte plane is signed, the second is not; masks are either
                        let products = if p == 0 {
                            _mm256_maddubs_epi16(masks[bit], x)
                        } else {
                            _mm256_maddubs_epi16(x, masks[bit])
                        };
                        let sum = &mut sums[p][2 * part + bit];
                        *sum = _mm256_add_epi16(*sum, products);
                    }
                }
            }
            code = _mm256_srli_epi32::<2>(code);
        }
    }
    sums
}
