// 1 / rms of a token from the exact sum of its squares, for round_vector.wgsl. The integers of x * w / rms(x) are those of
// x * w, because the norm only scales, so the norm enters the factor alone (src/ops/norm).
// Requires: bits_to_f32, p, wide_add, wide_cmp, wide_mul, wide_neg, wide_shl, wide_squares
// Provides: round_squares, round_inverse_rms

// The sum of the squares of four magnitudes, which `twice` brings below 2^23: halved and rounded, they have 22 bits.
fn round_squares(v: vec4<f32>, twice: f32) -> vec2<u32> {
    return wide_squares((vec4<u32>(abs(v) * twice) + vec4(1u)) >> vec4(1u));
}

// r^2 * m, which is close to 2^63 here, because r is close to 2^20 / sqrt(m / 2^23)
fn round_cube(r: u32, m: u32) -> vec2<u32> {
    let square = wide_mul(r, r);
    return wide_add(wide_mul(square.x, m), vec2(0u, square.y * m));
}

// 24 bits of 1 / sqrt(a) for a positive normal f32: the largest r * 2^(k - 24) whose square is not above 1 / a.
fn round_root_inverse(a: f32) -> f32 {
    let bits = bitcast<u32>(a);
    let e = i32(bits >> 23u) - 127;
    let odd = u32(e & 1);
    let m = ((bits & 0x7fffffu) | 0x800000u) << odd;
    // 20 bits come from the device's own root, which is a little too large and then mended
    var r = min(u32(inverseSqrt(f32(m) / 8388608.0) * 1048576.0) + 2u, 1048576u);
    for (var i = 0u; i < 16u && wide_cmp(round_cube(r, m), vec2(0u, 0x80000000u)) > 0; i++) {
        r -= 1u;
    }
    // four bits more, one by one
    var rest = wide_add(vec2(0u, 0x80000000u), wide_neg(round_cube(r, m)));
    for (var i = 0u; i < 4u; i++) {
        let more = wide_mul(4u * r + 1u, m);
        rest = wide_shl(rest, 2u);
        r *= 2u;
        if wide_cmp(more, rest) <= 0 {
            rest = wide_add(rest, wide_neg(more));
            r += 1u;
        }
    }
    let exponent = 127 - 24 - (e - i32(odd)) / 2;
    return f32(r) * bitcast<f32>(u32(exponent) << 23u);
}

// 1 / rms from the sum of squares in units of 2^(2 e - 44).
fn round_inverse_rms(sum: vec2<u32>, e: i32) -> f32 {
    var squares = 0.0;
    if (sum.x | sum.y) != 0u {
        squares = bits_to_f32(sum, 0x3f800000u, 2 * e - 44);
    }
    return round_root_inverse(squares + p.eps_n) * p.root_n;
}
