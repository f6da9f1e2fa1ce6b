//! Rounding of tokens on the host, in loops that the compiler turns into vector instructions.

use super::Form;
use super::activations::Activations;
use crate::codebook::{COLUMNS_PER_WORD, words_for};
use crate::ops::cpu;
use fearless_simd::{Level, Simd, dispatch};

/// Elements rounded at a time.
const BLOCK: usize = 64;

/// Adding and subtracting this rounds a double below 2^51 to an integer, half to even, and leaves the integer in
/// its low bits.
const ROUND: f64 = (3u64 << 51) as f64;

/// [`super::QuantizeAct`] for tokens of `columns` values: the same bits as its reference. `q` and `absmax` are its outputs;
/// largest magnitudes are at least `least`.
pub(in crate::ops) fn round_rows(
    x: &[f32],
    (columns, least): (usize, f32),
    (form, mode): (Form, Activations),
    q: &mut [u32],
    absmax: &mut [f32],
) {
    // a row is what has one scale: a token, or one of its halves
    let half = columns.div_ceil(2);
    let words = (mode.row_words(columns) / form.token_scales()).max(1);
    let columns = columns / form.token_scales();
    let rows: Vec<_> = x
        .chunks_exact(columns.max(1))
        .zip(q.chunks_exact_mut(words))
        .zip(absmax)
        .collect();
    let nanoseconds = columns; // about one per value
    cpu::each_worth(rows, nanoseconds, |((x, q), absmax)| {
        let q: &mut [u8] = bytemuck::cast_slice_mut(q);
        *absmax = dispatch!(Level::new(), simd => round_row(simd, (x, half), mode, q, least));
    });
}

/// Rounds one token or one half of it, where `half` is the size of a half, and returns its largest magnitude.
#[inline(always)]
fn round_row<S: Simd>(
    _: S,
    (x, half): (&[f32], usize),
    mode: Activations,
    q: &mut [u8],
    least: f32,
) -> f32 {
    let absmax = absmax(x, least);
    let plane = words_for(half) * COLUMNS_PER_WORD;
    let (levels, divisor) = (f64::from(mode.levels()), f64::from(absmax));
    let halves = x
        .chunks(half)
        .zip(q.chunks_exact_mut(mode.byte_planes() * plane));
    for (x, q) in halves {
        let (first, second) = q.split_at_mut(plane);
        first[x.len()..].fill(0);
        if mode == Activations::Int8 {
            for (x, q) in x.chunks(BLOCK).zip(first.chunks_mut(BLOCK)) {
                let ints = integers(x, levels, divisor);
                for i in 0..x.len() {
                    q[i] = ints[i] as u8;
                }
            }
            continue;
        }
        second[x.len()..].fill(0);
        let planes = first.chunks_mut(BLOCK).zip(second.chunks_mut(BLOCK));
        for (x, (high, low)) in x.chunks(BLOCK).zip(planes) {
            let ints = integers(x, levels, divisor);
            for i in 0..x.len() {
                high[i] = (ints[i] >> 8) as u8;
                low[i] = ints[i] as u8;
            }
        }
    }
    // a token of one value has no imaginary part at all
    let written = mode.byte_planes() * plane * x.len().div_ceil(half.max(1));
    q[written..].fill(0);
    absmax
}

/// The largest magnitude, at least `least`; NaN counts as nothing.
#[inline(always)]
fn absmax(x: &[f32], least: f32) -> f32 {
    // as bits, magnitudes are ordered integers with NaN beyond infinity
    let magnitude = |x: f32| {
        let bits = x.to_bits() & 0x7fff_ffff;
        if bits > 0x7f80_0000 { 0 } else { bits }
    };
    let mut lanes = [least.to_bits(); 16];
    let (blocks, rest) = x.as_chunks::<16>();
    for block in blocks {
        for i in 0..16 {
            lanes[i] = lanes[i].max(magnitude(block[i]));
        }
    }
    for &x in rest {
        lanes[0] = lanes[0].max(magnitude(x));
    }
    f32::from_bits(lanes.into_iter().fold(0, u32::max))
}

/// Up to [`BLOCK`] values, rounded. The quotient is exact enough for ties: see the reference.
#[inline(always)]
fn integers(x: &[f32], levels: f64, divisor: f64) -> [i32; BLOCK] {
    let mut ints = [0; BLOCK];
    let mut padded = [0.0; BLOCK];
    padded[..x.len()].copy_from_slice(x);
    for i in 0..BLOCK {
        let exact = f64::from(padded[i]) * levels / divisor;
        let rounded = (exact + ROUND).to_bits() as i32;
        ints[i] = if exact.is_nan() { 0 } else { rounded };
    }
    ints
}
