// The codebook {1, i, -1, -i}: code k means i^k. Comparisons only, of normal numbers and zeros (callers flush
// subnormals: lib/widely.wgsl), so every device finds the same sector.

// Sectors by the bits of the stored symbol (src/quarter.rs); codes i and -i are those where the bits differ.
struct Sectors {
    low: vec4<bool>,
    high: vec4<bool>,
}

// sectors of four numbers, ties as in src/quarter.rs; the origin is code 0
fn phase_sectors(re: vec4<f32>, im: vec4<f32>) -> Sectors {
    let low = im > re;                                   // i: -im < re < im; -1: re < im <= -re
    return Sectors(low, (im < -re) | (low & (im == -re))); // -1; -i: im <= re < -im
}

// i^k with magnitudes s = (s_re, s_im); no negative zeros
fn phase_value(k: u32, s: vec2<f32>) -> vec2<f32> {
    let signed = select(s, -s, k >= 2u);
    return select(vec2(signed.x, 0.0), vec2(0.0, signed.y), (k & 1u) == 1u);
}

// bit position of column c % 16 in its word
fn phase_shift(c: u32) -> u32 {
    return 8u * (c & 3u) + 2u * ((c >> 2u) & 3u);
}

// code of column c in its word
fn phase_code_at(word: u32, c: u32) -> u32 {
    let symbol = (word >> phase_shift(c)) & 3u;
    return symbol ^ (symbol >> 1u);
}

// stored symbol of a code
fn phase_symbol(k: u32) -> u32 {
    return k ^ (k >> 1u);
}
