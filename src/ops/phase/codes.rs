//! Codes in the order in which the products read them.

/// The WGSL that reads the codes of 16 columns, of all planes.
pub(super) fn codes_prelude(planes: usize) -> &'static str {
    match planes {
        1 => include_str!("../../../shaders/lib/codes_1.wgsl"),
        2 => include_str!("../../../shaders/lib/codes_2.wgsl"),
        3 => include_str!("../../../shaders/lib/codes_3.wgsl"),
        4 => concat!(
            include_str!("../../../shaders/lib/codes_4.wgsl"),
            include_str!("../../../shaders/lib/transposed.wgsl")
        ),
        6 => include_str!("../../../shaders/lib/codes_6.wgsl"),
        _ => concat!(
            include_str!("../../../shaders/lib/codes_8.wgsl"),
            include_str!("../../../shaders/lib/transposed.wgsl")
        ),
    }
}

/// Codes as the products read them: `[rows, words, planes]` instead of the packed format's `[rows, matrices, T, words]`, so
/// that what one invocation needs at a time lies together.
///
/// With four or eight planes every four words of the planes are transposed: a byte then has the symbols of one column in four
/// planes, and masks for the bits of any plane need no shift.
pub fn interleaved(codes: &[u32], planes: usize, words: usize) -> Vec<u32> {
    let mut out = vec![0; codes.len()];
    interleave(codes, &mut out, planes, words);
    out
}

/// [`interleaved`] of some rows, into as many words.
pub fn interleave(codes: &[u32], out: &mut [u32], planes: usize, words: usize) {
    let row = planes * words;
    for (packed, out) in codes.chunks_exact(row).zip(out.chunks_exact_mut(row)) {
        match planes {
            1 => transpose::<1>(packed, out, words),
            2 => transpose::<2>(packed, out, words),
            3 => transpose::<3>(packed, out, words),
            4 => transpose::<4>(packed, out, words),
            6 => transpose::<6>(packed, out, words),
            8 => transpose::<8>(packed, out, words),
            _ => {
                for (i, &code) in packed.iter().enumerate() {
                    out[i % words * planes + i / words] = code;
                }
            }
        }
    }
}

/// One row, with the number of planes known to the compiler: loading a model spends its host time here.
fn transpose<const PLANES: usize>(packed: &[u32], out: &mut [u32], words: usize) {
    let planes: [&[u32]; PLANES] = std::array::from_fn(|t| &packed[t * words..][..words]);
    let (out, _) = out.as_chunks_mut::<PLANES>();
    for (w, out) in out.iter_mut().enumerate() {
        *out = planes.map(|plane| plane[w]);
        if PLANES.is_multiple_of(4) {
            for four in out.as_chunks_mut::<4>().0 {
                *four = transposed(*four);
            }
        }
    }
}

/// Exchanges symbol `t` of the bytes of word `k` with symbol `k` of the bytes of word `t`. This turns words of one plane
/// each into bytes of one column each, and back.
#[inline(always)]
pub(super) fn transposed([a, b, c, d]: [u32; 4]) -> [u32; 4] {
    // pairs of symbols in pairs of words, then single ones
    let (p, q) = ((a >> 4 ^ c) & 0x0f0f_0f0f, (b >> 4 ^ d) & 0x0f0f_0f0f);
    let (a, b, c, d) = (a ^ p << 4, b ^ q << 4, c ^ p, d ^ q);
    let (p, q) = ((a >> 2 ^ b) & 0x3333_3333, (c >> 2 ^ d) & 0x3333_3333);
    [a ^ p << 2, b ^ p, c ^ q << 2, d ^ q]
}
