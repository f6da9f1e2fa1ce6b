// The codebook {1, i, -1, -i}: code k means i^k. Comparisons only, of normal numbers and zeros (callers flush
// subnormals: lib/widely.wgsl), so every device finds the same sector.

// sector of z, ties as in src/quarter.rs; the origin is 0
fn phase_code(z: vec2<f32>) -> u32 {
    let i = z.y > z.x && z.x > -z.y;        // -im < re < im
    let minus = z.y > z.x && z.y <= -z.x;   // re < im <= -re
    let minus_i = z.y <= z.x && z.x < -z.y; // im <= re < -im
    return select(0u, 1u, i) | select(0u, 2u, minus) | select(0u, 3u, minus_i);
}

// whether the sector of z is that of i or -i
fn phase_odd(z: vec2<f32>) -> bool {
    return (z.y > z.x && z.x > -z.y) || (z.y <= z.x && z.x < -z.y);
}

// i^k with magnitudes s = (s_re, s_im); no negative zeros
fn phase_value(k: u32, s: vec2<f32>) -> vec2<f32> {
    let signed = select(s, -s, k >= 2u);
    return select(vec2(signed.x, 0.0), vec2(0.0, signed.y), (k & 1u) == 1u);
}

// stored symbol of code k: see src/quarter.rs
fn phase_symbol(k: u32) -> u32 {
    return k ^ (k >> 1u);
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
