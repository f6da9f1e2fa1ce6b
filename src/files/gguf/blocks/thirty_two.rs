//! Blocks of 32 elements: a scale, perhaps an offset, and integers. Byte i of the 4-bit ones holds elements i and i + 16.

use super::half;

/// Calls `f` with the index and the 4-bit integer of each element.
fn nibbles(bytes: &[u8], mut f: impl FnMut(usize, u8)) {
    for (i, byte) in bytes.iter().enumerate() {
        f(i, byte & 15);
        f(i + 16, byte >> 4);
    }
}

/// The same for 5-bit integers: bit i of the first four bytes is the fifth bit of element i.
fn fives(bytes: &[u8], mut f: impl FnMut(usize, u8)) {
    let high = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    nibbles(&bytes[4..], |i, low| {
        f(i, low | ((high >> i & 1) as u8) << 4);
    });
}

pub(super) fn q4_0(block: &[u8], out: &mut [f32]) {
    let d = half(block);
    nibbles(&block[2..], |i, q| out[i] = d * f32::from(q as i8 - 8));
}

pub(super) fn q4_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half(block), half(&block[2..]));
    nibbles(&block[4..], |i, q| out[i] = d * f32::from(q) + m);
}

pub(super) fn q5_0(block: &[u8], out: &mut [f32]) {
    let d = half(block);
    fives(&block[2..], |i, q| out[i] = d * f32::from(q as i8 - 16));
}

pub(super) fn q5_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half(block), half(&block[2..]));
    fives(&block[4..], |i, q| out[i] = d * f32::from(q) + m);
}

pub(super) fn q8_0(block: &[u8], out: &mut [f32]) {
    let d = half(block);
    for (out, q) in out.iter_mut().zip(&block[2..]) {
        *out = f32::from(*q as i8) * d;
    }
}

/// Sixteen values at uneven distances, closer together around 0.
pub(super) fn iq4_nl(block: &[u8], out: &mut [f32]) {
    const VALUES: [i8; 16] = [
        -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
    ];
    let d = half(block);
    nibbles(&block[2..], |i, q| {
        out[i] = d * f32::from(VALUES[usize::from(q)]);
    });
}
