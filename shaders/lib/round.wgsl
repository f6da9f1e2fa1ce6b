// Exact rounding of activations to integers, by integer arithmetic alone.
// Requires: wide_cmp, wide_mul, wide_shl
// Provides: LEAST, round_quotient

const LEAST = 0x3727c5acu; // bits of 1e-5f

// |x| * levels / top, rounded half to even; x and top as f32 bits, top normal and not below |x|.
fn round_quotient(magnitude: u32, top: u32, levels: u32) -> u32 {
    let ex = magnitude >> 23u;
    let d = (top >> 23u) - ex;
    if ex == 0u || d > 17u {
        return 0u; // |x| * levels < top / 2
    }
    let mx = (magnitude & 0x7fffffu) | 0x800000u;
    let mt = (top & 0x7fffffu) | 0x800000u;
    // an estimate within one, then the exact comparison of 2 * mx * levels with (2 * n +- 1) * mt * 2^d
    let guess = f32(mx) * f32(levels) / (f32(mt) * f32(1u << d));
    let n = u32(guess + 0.5);
    let twice = wide_mul(mx, 2u * levels);
    let above = wide_cmp(twice, wide_shl(wide_mul(mt, 2u * n + 1u), d));
    if above > 0 || (above == 0 && (n & 1u) == 1u) {
        return n + 1u;
    }
    if n == 0u {
        return 0u;
    }
    let below = wide_cmp(twice, wide_shl(wide_mul(mt, 2u * n - 1u), d));
    if below < 0 || (below == 0 && (n & 1u) == 1u) {
        return n - 1u;
    }
    return n;
}
