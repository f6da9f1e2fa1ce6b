//! Ternary blocks of 256 elements: -1, 0 or 1 times one scale.

use super::half;
use super::super_blocks::two_bits;

/// Five digits to base 3 in a byte, as a fraction of 256 whose first digit is the highest: 32 bytes of five, 16 of five,
/// and 4 of four digits; digit t of a run of n bytes belongs to its elements from t n on.
pub(super) fn tq1_0(block: &[u8], out: &mut [f32]) {
    const RUNS: [(usize, usize); 3] = [(32, 5), (16, 5), (4, 4)];
    let d = half(&block[52..]);
    let (mut bytes, mut elements) = (block, out.iter_mut());
    for (length, digits) in RUNS {
        let (run, rest) = bytes.split_at(length);
        let mut power = 1u8;
        for _ in 0..digits {
            for (byte, out) in run.iter().zip(&mut elements) {
                let fraction = u16::from(byte.wrapping_mul(power));
                *out = d * f32::from(((fraction * 3) >> 8) as i8 - 1);
            }
            power = power.wrapping_mul(3);
        }
        bytes = rest;
    }
}

pub(super) fn tq2_0(block: &[u8], out: &mut [f32]) {
    let d = half(&block[64..]);
    for (e, out) in out.iter_mut().enumerate() {
        *out = d * f32::from(two_bits(block, e) as i8 - 1);
    }
}
