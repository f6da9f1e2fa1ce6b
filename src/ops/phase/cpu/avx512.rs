//! AVX-512 VNNI: 16 lanes of 4 bytes, multiplied and added in one instruction.

use super::panel::{Acts, Lanes, Rows};
use super::scale::{BitSums, Totals};
use super::words::{self, Words};
use fearless_simd::{Avx512, i32x16, kernel, prelude::*, u32x16};
use std::arch::x86_64::*;
use std::ops::Range;

/// Lanes of a panel: two registers, so that one token alone has enough independent sums.
const LANES: usize = 32;

impl Lanes<LANES> for Avx512 {
    const BY_PLANE: bool = false;
    type Codes = Words<LANES>;
    type Factors<'a> = Acts<'a>;

    fn factors<'a>(self, acts: Acts<'a>, _tokens: usize) -> Acts<'a> {
        acts
    }

    fn pack(self, rows: &Rows<'_>, codes: &mut Words<LANES>) {
        words::pack(rows, codes);
        words_of_planes(self, rows.planes, codes);
    }

    fn tokens(self, byte_planes: usize) -> usize {
        // the sums of a register of codes and of six byte planes take 24 of 32 registers
        6 / byte_planes.max(1)
    }

    fn sums(
        self,
        codes: &Words<LANES>,
        acts: &Acts<'_>,
        words: Range<usize>,
        first: usize,
        out: &mut [BitSums<LANES>],
    ) {
        let (word, codes) = (words.start, &codes[words]);
        sums(self, codes, acts, first, word, out);
    }

    fn values(self, totals: &Totals<'_, LANES>, out: &mut [[f32; LANES]; 2]) {
        values(self, totals, out);
    }
}

kernel!(
    fn words_of_planes(t: Avx512, planes: usize, codes: &mut [[u32; LANES]]) {
        words::words_of_planes(planes, codes);
    }
);

kernel!(
    fn values(t: Avx512, totals: &Totals<'_, LANES>, out: &mut [[f32; LANES]; 2]) {
        totals.values(out);
    }
);

kernel!(
    fn sums(
        t: Avx512,
        codes: &[[u32; LANES]],
        acts: &Acts<'_>,
        first: usize,
        word: usize,
        out: &mut [BitSums<LANES>],
    ) {
        let source = (acts, first, word);
        match (acts.byte_planes, out) {
            (1, [a]) => both::<1>(t, codes, source, a),
            (2, [a]) => both::<2>(t, codes, source, a),
            (1, out) => match out.len() {
                2 => by_register::<2, 1>(t, codes, source, out),
                3 => by_register::<3, 1>(t, codes, source, out),
                4 => by_register::<4, 1>(t, codes, source, out),
                5 => by_register::<5, 1>(t, codes, source, out),
                _ => by_register::<6, 1>(t, codes, source, out),
            },
            (_, out) => match out.len() {
                2 => by_register::<2, 2>(t, codes, source, out),
                _ => by_register::<3, 2>(t, codes, source, out),
            },
        }
    }
);

/// The activations, the first token and the first word of a sum.
type Source<'a> = (&'a Acts<'a>, usize, usize);

/// One token, both registers of codes together: each activation is loaded once.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn both<const P: usize>(
    t: Avx512,
    codes: &[[u32; LANES]],
    source: Source<'_>,
    out: &mut BitSums<LANES>,
) {
    let [sums] = tile::<1, 2, P>(t, codes, 0, source);
    for (register, sums) in sums.iter().enumerate() {
        put(t, sums, register, out);
    }
}

/// Several tokens, one register of codes after the other.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn by_register<const N: usize, const P: usize>(
    t: Avx512,
    codes: &[[u32; LANES]],
    source: Source<'_>,
    out: &mut [BitSums<LANES>],
) {
    for register in 0..2 {
        let sums = tile::<N, 1, P>(t, codes, register, source);
        for ([sums], out) in sums.iter().zip(out.iter_mut()) {
            put(t, sums, register, out);
        }
    }
}

/// Sums of a register and token: `[byte plane][re bit 0, re bit 1, im bit 0, im bit 1]`, those of bit 1 doubled.
type Sums<const P: usize> = [[__m512i; 4]; P];

/// `N` tokens with `B` registers of codes from register `register` on.
#[allow(clippy::needless_range_loop)] // one loop for three arrays, unrolled
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn tile<const N: usize, const B: usize, const P: usize>(
    t: Avx512,
    codes: &[[u32; LANES]],
    register: usize,
    (acts, first, word): Source<'_>,
) -> [[Sums<P>; B]; N] {
    let count = codes.len();
    let mut planes = [[[&acts.q[..0]; P]; 2]; N];
    for (n, planes) in planes.iter_mut().enumerate() {
        *planes = acts.token(first + n, word, count);
    }
    let planes = planes;
    let bits = [
        _mm512_set1_epi32(0x0101_0101),
        _mm512_set1_epi32(0x0202_0202),
    ];
    let mut sums = [[[[_mm512_setzero_si512(); 4]; P]; B]; N];
    let mut code = [_mm512_setzero_si512(); B];
    let mut masks = [[_mm512_setzero_si512(); 2]; B];
    for i in 0..count {
        for b in 0..B {
            code[b] = u32x16::from_slice(t, &codes[i][(register + b) * 16..][..16]).into();
        }
        for m in 0..4 {
            for b in 0..B {
                masks[b][0] = _mm512_and_si512(code[b], bits[0]);
                masks[b][1] = _mm512_and_si512(code[b], bits[1]);
                code[b] = _mm512_srli_epi32::<2>(code[b]);
            }
            for n in 0..N {
                for half in 0..2 {
                    for p in 0..P {
                        let x = _mm512_set1_epi32(planes[n][half][p][i][m] as i32);
                        for b in 0..B {
                            for bit in 0..2 {
                                let sum = &mut sums[n][b][p][2 * half + bit];
                                // the first byte plane is signed, the second is not; masks are either
                                *sum = if p == 0 {
                                    _mm512_dpbusd_epi32(*sum, masks[b][bit], x)
                                } else {
                                    _mm512_dpbusd_epi32(*sum, x, masks[b][bit])
                                };
                            }
                        }
                    }
                }
            }
        }
    }
    sums
}

/// Joins the byte planes, halves what was doubled, and stores.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn put<const P: usize>(t: Avx512, sums: &Sums<P>, register: usize, out: &mut BitSums<LANES>) {
    for i in 0..4 {
        // halved before anything grows: the sum of a long row just fits
        let halved = |s| {
            if i % 2 == 1 {
                _mm512_srai_epi32::<1>(s)
            } else {
                s
            }
        };
        let mut sum = halved(sums[0][i]);
        if P == 2 {
            sum = _mm512_add_epi32(_mm512_slli_epi32::<8>(sum), halved(sums[1][i]));
        }
        let lanes: i32x16<Avx512> = sum.simd_into(t);
        lanes.store_slice(&mut out[i][register * 16..][..16]);
    }
}
