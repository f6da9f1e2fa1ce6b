// Fixed-point magnitudes: the twin of src/fixed.rs, bit for bit.
// A magnitude is floor(|x| * 2^(36 - exponent)) for |x| < 2^exponent, so 2^28 of them add up within 64 bits.
// Requires: wide_clz, wide_mul, wide_shl, wide_shl_any, wide_shr
// Provides: fixed_magnitude, fixed_square, fixed_mean

// The magnitude of x; 0 for subnormal, infinite and NaN values.
fn fixed_magnitude(x: f32, exponent: i32) -> vec2<u32> {
    let bits = bitcast<u32>(x) & 0x7fffffffu;
    let e = i32(bits >> 23u);
    if e == 0 || e == 255 {
        return vec2(0u, 0u);
    }
    let mantissa = (bits & 0x7fffffu) | 0x800000u;
    let shift = e - 114 - exponent; // e - 127 - 23 + 36 - exponent
    if shift < -31 || shift > 40 {
        return vec2(0u, 0u);
    }
    if shift < 0 {
        return vec2(mantissa >> u32(-shift), 0u);
    }
    if shift < 32 {
        return wide_shl(vec2(mantissa, 0u), u32(shift));
    }
    return vec2(0u, mantissa << u32(shift - 32));
}

// floor(floor(|x| * 2^(32 - exponent))^2 / 2^18) for |x| < 2^exponent: 2^18 of them add up within 64 bits
fn fixed_square(x: f32, exponent: i32) -> vec2<u32> {
    let root = u32(abs(x) * bitcast<f32>(u32(159 - exponent) << 23u)); // 2^(32 - exponent)
    return wide_shr(wide_mul(root, root), 18u);
}

// Bits of the f32 next to sum / count * 2^(exponent - 36), half to even, but at least `least`, bits of a positive f32.
fn fixed_mean(sum: vec2<u32>, count: u32, exponent: i32, least: u32) -> u32 {
    if count == 0u || (sum.x | sum.y) == 0u {
        return least;
    }
    // long division, both shifted so that they lead with a bit: 32 bits at once, then one each until the quotient has 25
    let zeros = wide_clz(sum);
    let shift = countLeadingZeros(count);
    let divisor = count << shift;
    let shifted = wide_shl_any(sum, zeros);
    let whole = shifted.y >= divisor;
    var rest = vec2(0u, shifted.x);
    var remainder = shifted.y - select(0u, divisor, whole);
    var quotient = select(0u, 1u, whole);
    var bit = 32 + i32(shift); // position below which `rest` begins, in units of 2^-zeros
    for (; quotient < 0x1000000u; bit--) {
        let carry = remainder >> 31u;
        remainder = (remainder << 1u) | (rest.y >> 31u);
        rest = wide_shl(rest, 1u);
        quotient <<= 1u;
        if carry == 1u || remainder >= divisor {
            remainder -= divisor;
            quotient |= 1u;
        }
    }
    // quotient = 24 bits and the next one; its lowest bit weighs 2^(bit - zeros)
    let top = bit - i32(zeros) + 24 + exponent - 36; // the mean lies in [2^top, 2^(top + 1))
    if top < -126 {
        return least;
    }
    var mantissa = quotient >> 1u;
    let inexact = (remainder | rest.x | rest.y) != 0u;
    if (quotient & 1u) == 1u && (inexact || (mantissa & 1u) == 1u) {
        mantissa += 1u;
    }
    // adding the mantissa with its leading bit carries into the exponent where rounding reached 2^24
    let e = top + 126;
    if e + i32(mantissa >> 23u) >= 255 {
        return 0x7f7fffffu;
    }
    return max((u32(e) << 23u) + mantissa, least);
}
