// Steps of rounding in the form that compilers turn into the fewest instructions, or cannot rearrange.
// The stand-in without these tricks is plain/round_bits.wgsl; both give the same bits.
// Provides: round_nearest, round_opaque, round_packed

// 1.5 * 2^23: beside this float, floats count integers of either sign
const COUNTER = 12582912.0;

// The integers nearest to numbers below 2^22, halves to even: an addition instead of a conversion with a rounding mode.
fn round_nearest(v: vec4<f32>) -> vec4<i32> {
    return bitcast<vec4<i32>>(v + COUNTER) - vec4(0x4b400000);
}

// Returns v. A compiler that may reorder additions of floats cannot look through the integer between two of them,
// because `none` is 0 in every run, but not to its knowledge.
fn round_opaque(v: vec4<f32>, none: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(v) | vec4(none));
}

// Puts four bytes side by side; bits above a byte add to the next one. A multiplication and addition is one instruction,
// where a mask, a shift and an addition would be three.
fn round_packed(u: vec4<u32>) -> u32 {
    return u.x + 256u * u.y + 65536u * u.z + 16777216u * u.w;
}
