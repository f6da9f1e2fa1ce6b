//! SIMD128 of WebAssembly: 4 lanes of 4 bytes; bytes that a mask lets through are added in pairs to 16 bits, those to 32 bits.
//!
//! As on NEON, but for a register at a time: browsers run this on the 16 registers of SSE, too.

use super::panel::{Acts, Lanes, Rows};
use super::scale::{BitSums, Totals};
use super::words::{self, Words};
use fearless_simd::wasm32::WasmSimd128;
use fearless_simd::{i32x4, kernel, prelude::*, u32x4};
use std::arch::wasm32::*;
use std::ops::Range;

/// Lanes of a panel: eight registers, one after the other, so that scaling and rounding have enough to do.
pub(super) const LANES: usize = 32;

/// Words after which the 16-bit sums are emptied; they hold 32 of them, 8 bytes each.
const WORDS: usize = 16;

impl Lanes<LANES> for WasmSimd128 {
    type Codes = [[u32; LANES]];
    type Packed = Words<LANES>;
    type Factors<'a> = Acts<'a>;

    fn factors<'a>(self, acts: Acts<'a>, _tokens: usize) -> Acts<'a> {
        acts
    }

    fn pack<'p>(self, rows: &Rows<'_>, codes: &'p mut Words<LANES>) -> &'p [[u32; LANES]] {
        words::pack(rows, codes);
        codes
    }

    fn laid(codes: &[u32]) -> Option<&[[u32; LANES]]> {
        Some(codes.as_chunks().0)
    }

    fn tokens(self, _byte_planes: usize) -> usize {
        1
    }

    fn sums(
        self,
        codes: &[[u32; LANES]],
        acts: &Acts<'_>,
        words: Range<usize>,
        first: usize,
        out: &mut [BitSums<LANES>],
    ) {
        let (word, codes) = (words.start, &codes[words]);
        for (token, out) in out.iter_mut().enumerate() {
            sums(self, codes, acts, first + token, word, out);
        }
    }

    fn values(self, totals: &Totals<'_, LANES>, out: &mut [[f32; LANES]; 2]) {
        totals.values(out);
    }
}

kernel!(
    fn sums(
        t: WasmSimd128,
        codes: &[[u32; LANES]],
        acts: &Acts<'_>,
        token: usize,
        word: usize,
        out: &mut BitSums<LANES>,
    ) {
        for lane in (0..LANES).step_by(4) {
            match acts.byte_planes {
                1 => lane_sums::<1>(t, codes, lane, acts, (token, word), out),
                _ => lane_sums::<2>(t, codes, lane, acts, (token, word), out),
            }
        }
    }
);

/// Sums of a register of codes, `[re bit 0, re bit 1, im bit 0, im bit 1]`: of the first byte plane, which is
/// signed, and of the second, which is not. In 32 bits, or in 16, two to a lane.
type Sums = [[v128; 4]; 2];

/// Sums of the four lanes from `lane` on.
#[inline(always)]
fn lane_sums<const P: usize>(
    t: WasmSimd128,
    codes: &[[u32; LANES]],
    lane: usize,
    acts: &Acts<'_>,
    (token, word): (usize, usize),
    out: &mut BitSums<LANES>,
) {
    let mut all: Sums = [[u32x4_splat(0); 4]; 2];
    for from in (0..codes.len()).step_by(WORDS) {
        let to = (from + WORDS).min(codes.len());
        let x = acts.token(token, word + from, to - from);
        let sums = short_sums::<P>(t, &codes[from..to], lane, x);
        for i in 0..4 {
            all[0][i] = i32x4_add(all[0][i], i32x4_extadd_pairwise_i16x8(sums[0][i]));
            if P == 2 {
                all[1][i] = i32x4_add(all[1][i], i32x4_extadd_pairwise_u16x8(sums[1][i]));
            }
        }
    }
    for i in 0..4 {
        let mut sum = all[0][i];
        if P == 2 {
            sum = i32x4_add(i32x4_shl(sum, 8), all[1][i]);
        }
        let lanes: i32x4<WasmSimd128> = sum.simd_into(t);
        lanes.store_slice(&mut out[i][lane..][..4]);
    }
}

/// Sums of at most [`WORDS`] words, in 16 bits.
#[inline(always)]
fn short_sums<const P: usize>(
    t: WasmSimd128,
    codes: &[[u32; LANES]],
    lane: usize,
    x: [[&[[u32; 4]]; P]; 2],
) -> Sums {
    let mut sums: Sums = [[u16x8_splat(0); 4]; 2];
    for (i, codes) in codes.iter().enumerate() {
        let code: v128 = u32x4::from_slice(t, &codes[lane..][..4]).into();
        for m in 0..4 {
            let bits = [u8x16_splat(1 << (2 * m)), u8x16_splat(2 << (2 * m))];
            let masks = bits.map(|bit| u8x16_eq(v128_and(code, bit), bit));
            for half in 0..2 {
                for p in 0..P {
                    let x = u32x4_splat(x[half][p][i][m]);
                    for bit in 0..2 {
                        let chosen = v128_and(masks[bit], x);
                        let pairs = match p {
                            0 => i16x8_extadd_pairwise_i8x16(chosen),
                            _ => u16x8_extadd_pairwise_u8x16(chosen),
                        };
                        let sum = &mut sums[p][2 * half + bit];
                        *sum = i16x8_add(*sum, pairs);
                    }
                }
            }
        }
    }
    sums
}
