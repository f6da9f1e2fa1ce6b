//! NEON: 4 lanes of 4 bytes; bytes that a mask lets through are added in pairs to 16 bits, those to 32 bits.
//!
//! The dot product instructions of newer cores are not stable in Rust; masks and pairwise sums take as few.

use super::panel::{Acts, Lanes, Rows};
use super::scale::{BitSums, Totals};
use super::words::{self, Words};
use fearless_simd::{Neon, i32x4, kernel, prelude::*, u32x4};
use std::arch::aarch64::*;
use std::ops::Range;

/// Lanes of a panel: pairs of registers, one after the other, so that scaling and rounding have enough to do.
pub(super) const LANES: usize = 32;

/// Registers that share each activation.
const REGISTERS: usize = 2;

/// Words after which the 16-bit sums are emptied; they hold 64.
const WORDS: usize = 16;

impl Lanes<LANES> for Neon {
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
        // 16 sums, and the masks they are made with, fill the 32 registers
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
        t: Neon,
        codes: &[[u32; LANES]],
        acts: &Acts<'_>,
        token: usize,
        word: usize,
        out: &mut BitSums<LANES>,
    ) {
        for first in (0..LANES).step_by(4 * REGISTERS) {
            match acts.byte_planes {
                1 => part_sums::<1>(t, codes, first, acts, (token, word), out),
                _ => part_sums::<2>(t, codes, first, acts, (token, word), out),
            }
        }
    }
);

/// Sums of a register of codes, `[re bit 0, re bit 1, im bit 0, im bit 1]`: of the first byte plane, which is
/// signed, and of the second, which is not.
type Wide = ([int32x4_t; 4], [uint32x4_t; 4]);

/// The same in 16 bits, two to a lane.
type Short = ([int16x8_t; 4], [uint16x8_t; 4]);

/// Sums of the lanes from `lane` on that fill [`REGISTERS`].
#[target_feature(enable = "neon")]
#[inline]
fn part_sums<const P: usize>(
    t: Neon,
    codes: &[[u32; LANES]],
    lane: usize,
    acts: &Acts<'_>,
    (token, word): (usize, usize),
    out: &mut BitSums<LANES>,
) {
    let count = codes.len();
    let mut all: [Wide; REGISTERS] = [([vdupq_n_s32(0); 4], [vdupq_n_u32(0); 4]); REGISTERS];
    for from in (0..count).step_by(WORDS) {
        let to = (from + WORDS).min(count);
        let x = acts.token(token, word + from, to - from);
        let sums = short_sums::<P>(t, &codes[from..to], lane, x);
        for (all, sums) in all.iter_mut().zip(&sums) {
            for i in 0..4 {
                all.0[i] = vpadalq_s16(all.0[i], sums.0[i]);
                if P == 2 {
                    all.1[i] = vpadalq_u16(all.1[i], sums.1[i]);
                }
            }
        }
    }
    for (r, (first, second)) in all.iter().enumerate() {
        for i in 0..4 {
            let mut sum = first[i];
            if P == 2 {
                sum = vaddq_s32(vshlq_n_s32::<8>(sum), vreinterpretq_s32_u32(second[i]));
            }
            let lanes: i32x4<Neon> = sum.simd_into(t);
            lanes.store_slice(&mut out[i][lane + 4 * r..][..4]);
        }
    }
}

/// Sums of at most [`WORDS`] words.
#[target_feature(enable = "neon")]
#[inline]
fn short_sums<const P: usize>(
    t: Neon,
    codes: &[[u32; LANES]],
    lane: usize,
    x: [[&[[u32; 4]]; P]; 2],
) -> [Short; REGISTERS] {
    let count = codes.len();
    let mut sums: [Short; REGISTERS] = [([vdupq_n_s16(0); 4], [vdupq_n_u16(0); 4]); REGISTERS];
    for i in 0..count {
        // loops instead of closures: those would not be compiled for NEON
        let mut code = [vdupq_n_u8(0); REGISTERS];
        for (r, code) in code.iter_mut().enumerate() {
            let lanes: uint32x4_t = u32x4::from_slice(t, &codes[i][lane + 4 * r..][..4]).into();
            *code = vreinterpretq_u8_u32(lanes);
        }
        for m in 0..4 {
            let bits = [vdupq_n_u8(1 << (2 * m)), vdupq_n_u8(2 << (2 * m))];
            let mut masks = [[bits[0]; 2]; REGISTERS];
            for (masks, code) in masks.iter_mut().zip(&code) {
                masks[0] = vtstq_u8(*code, bits[0]);
                masks[1] = vtstq_u8(*code, bits[1]);
            }
            for half in 0..2 {
                for p in 0..P {
                    let x = vreinterpretq_u8_u32(vdupq_n_u32(x[half][p][i][m]));
                    for (masks, sums) in masks.iter().zip(&mut sums) {
                        for bit in 0..2 {
                            let (chosen, at) = (vandq_u8(masks[bit], x), 2 * half + bit);
                            if p == 0 {
                                let signed = vreinterpretq_s8_u8(chosen);
                                sums.0[at] = vpadalq_s8(sums.0[at], signed);
                            } else {
                                sums.1[at] = vpadalq_u8(sums.1[at], chosen);
                            }
                        }
                    }
                }
            }
        }
    }
    sums
}
