// The codebook {1, i, -1, -i}: code k means i^k. Everything is decided by comparisons of normal numbers and zeros, because
// callers flush subnormals (widely_linear.wgsl), so every device finds the same sector.
// Provides: Sectors, phase_sectors, phase_value, phase_shift, phase_code_at, phase_symbol

// Sectors by the bits of the stored symbol (src/codebook.rs); codes i and -i are those where the bits differ.
struct Sectors {
    low: vec4<bool>,
    high: vec4<bool>,
}

// The sectors of four numbers, ties as in src/codebook.rs; the origin is code 0
fn phase_sectors(re: vec4<f32>, im: vec4<f32>) -> Sectors {
    let low = im > re;                                   // i: -im < re < im; -1: re < im <= -re
    return Sectors(low, (im < -re) | (low & (im == -re))); // -1; -i: im <= re < -im
}

// i^k with magnitudes s = (s_re, s_im), without negative zeros.
fn phase_value(k: u32, s: vec2<f32>) -> vec2<f32> {
    let signed = select(s, -s, k >= 2u);
    return select(vec2(signed.x, 0.0), vec2(0.0, signed.y), (k & 1u) == 1u);
}

// The bit position of column c % 16 in its word.
fn phase_shift(c: u32) -> u32 {
    return 8u * (c & 3u) + 2u * ((c >> 2u) & 3u);
}

// The code of column c in its word.
fn phase_code_at(word: u32, c: u32) -> u32 {
    let symbol = (word >> phase_shift(c)) & 3u;
    return symbol ^ (symbol >> 1u);
}

// The stored symbol of a code.
fn phase_symbol(k: u32) -> u32 {
    return k ^ (k >> 1u);
}
