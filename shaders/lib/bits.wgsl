// The one rounding of a 64-bit integer to f32.
// Requires: wide_mul, wide_neg, wide_round_shift
// Provides: bits_to_f32

// The index of the highest set bit of a value that is not 0.
fn bits_top(value: vec2<u32>) -> u32 {
    if value.y != 0u {
        return 63u - countLeadingZeros(value.y);
    }
    return 31u - countLeadingZeros(value.x);
}

// f32(f32(sum) * factor * 2^exponent): the sum is rounded to 24 bits, then the product, both half to even. A result below
// 2^-126 becomes 0, one beyond f32 the largest f32. `factor` has the bits of a positive normal f32.
fn bits_to_f32(sum: vec2<u32>, factor: u32, exponent: i32) -> f32 {
    let negative = (sum.y >> 31u) == 1u;
    var magnitude = sum;
    if negative {
        magnitude = wide_neg(sum);
    }
    if magnitude.x == 0u && magnitude.y == 0u {
        return 0.0;
    }
    let top = bits_top(magnitude);
    let drop = select(0u, top - 23u, top > 23u);
    // 2^24 after rounding up is still exact below
    let rounded = wide_round_shift(magnitude, drop);
    let product = wide_mul(rounded, (factor & 0x7fffffu) | 0x800000u);
    let product_top = bits_top(product);
    let product_drop = product_top - 23u;
    var mantissa = wide_round_shift(product, product_drop);
    let unit = i32(drop) + exponent + i32(factor >> 23u) - 150; // weight of the product's lowest bit
    if unit + i32(product_top) < -126 {
        return 0.0;
    }
    var e = unit + i32(product_top) + 127;
    if mantissa == 0x1000000u {
        e += 1;
    }
    var bits = (u32(e) << 23u) | (mantissa & 0x7fffffu);
    if e >= 255 {
        bits = 0x7f7fffffu;
    }
    return bitcast<f32>(bits | select(0u, 0x80000000u, negative));
}
