//! Blocks of 256 elements with scales of a few bits for each 16 or 32 of them, under one or two 16-bit scales.

use super::half;

/// The 2-bit integer of element `e`: each 32 bytes hold 128 elements, 32 for each pair of bits.
pub(super) fn two_bits(bytes: &[u8], e: usize) -> u8 {
    bytes[e / 128 * 32 + e % 32] >> (e % 128 / 32 * 2) & 3
}

/// The 4-bit integer of element `e`: each 32 bytes hold 64 elements, 32 in the low and 32 in the high halves.
fn four_bits(bytes: &[u8], e: usize) -> u8 {
    bytes[e / 64 * 32 + e % 32] >> (e % 64 / 32 * 4) & 15
}

/// The single bit of element `e`: bit n of 32 bytes belongs to the elements from 32 n on.
fn one_bit(bytes: &[u8], e: usize) -> u8 {
    bytes[e % 32] >> (e / 32) & 1
}

/// Four bits of scale and four of minimum for each 16 elements, 2-bit integers.
pub(super) fn q2_k(block: &[u8], out: &mut [f32]) {
    let (scales, rest) = block.split_at(16);
    let (quants, rest) = rest.split_at(64);
    let (d, dmin) = (half(rest), half(&rest[2..]));
    for (g, out) in out.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(scales[g] & 15);
        let min = dmin * f32::from(scales[g] >> 4);
        for (i, out) in out.iter_mut().enumerate() {
            *out = scale * f32::from(two_bits(quants, 16 * g + i)) - min;
        }
    }
}

/// Six bits of scale for each 16 elements, 3-bit integers whose highest bits lie apart and count when they are 0.
pub(super) fn q3_k(block: &[u8], out: &mut [f32]) {
    let (high, rest) = block.split_at(32);
    let (quants, rest) = rest.split_at(64);
    let (scales, d) = rest.split_at(12);
    let d = half(d);
    for (g, out) in out.chunks_exact_mut(16).enumerate() {
        let low = scales[g % 8] >> (g / 8 * 4) & 15;
        let scale = low | (scales[8 + g % 4] >> (g / 4 * 2) & 3) << 4;
        let scale = d * f32::from(scale as i8 - 32);
        for (i, out) in out.iter_mut().enumerate() {
            let e = 16 * g + i;
            let missing = (one_bit(high, e) ^ 1) << 2;
            *out = scale * f32::from(two_bits(quants, e) as i8 - missing as i8);
        }
    }
}

/// The 6-bit scale and minimum of the 32 elements from `32 g` on, out of twelve bytes.
fn scale_and_min(scales: &[u8], g: usize) -> (u8, u8) {
    let (scale, min) = (scales[g % 4], scales[4 + g % 4]);
    if g < 4 {
        return (scale & 63, min & 63);
    }
    let both = scales[8 + g % 4];
    (both & 15 | scale >> 2 & 0x30, both >> 4 | min >> 2 & 0x30)
}

/// Writes `d scale q - dmin min`, `integer` giving q by the index of the element.
fn scaled(head: &[u8], out: &mut [f32], integer: impl Fn(usize) -> u8) {
    let (d, dmin) = (half(head), half(&head[2..]));
    for (g, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_and_min(&head[4..], g);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        for (i, out) in out.iter_mut().enumerate() {
            *out = scale * f32::from(integer(32 * g + i)) - min;
        }
    }
}

/// Six bits of scale and of minimum for each 32 elements, 4-bit integers.
pub(super) fn q4_k(block: &[u8], out: &mut [f32]) {
    let (head, quants) = block.split_at(16);
    scaled(head, out, |e| four_bits(quants, e));
}

/// The same with 5-bit integers, whose highest bits lie apart.
pub(super) fn q5_k(block: &[u8], out: &mut [f32]) {
    let (head, rest) = block.split_at(16);
    let (high, quants) = rest.split_at(32);
    scaled(head, out, |e| four_bits(quants, e) | one_bit(high, e) << 4);
}

/// Eight bits of scale for each 16 elements, 6-bit integers: each 64 bytes of low halves hold 128 elements.
pub(super) fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, rest) = block.split_at(128);
    let (high, rest) = rest.split_at(64);
    let (scales, d) = rest.split_at(16);
    let d = half(d);
    for (g, out) in out.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(scales[g] as i8);
        for (i, out) in out.iter_mut().enumerate() {
            let e = 16 * g + i;
            let low = low[e / 128 * 64 + e % 64] >> (e % 128 / 64 * 4) & 15;
            let q = low | two_bits(high, e) << 4;
            *out = scale * f32::from(q as i8 - 32);
        }
    }
}
