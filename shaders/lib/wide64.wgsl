// 64-bit integers as vec2<u32>(low, high), by the device's own 64-bit arithmetic: a stand-in for wide.wgsl.
// Provides: wide_add, wide_neg, wide_mul, wide_mul_signed, wide_squares, wide_shl, wide_sub, wide_cmp, wide_min,
//    wide_round_shift

fn wide_join(a: vec2<u32>) -> u64 {
    return (u64(a.y) << 32u) | u64(a.x);
}

fn wide_cut(a: u64) -> vec2<u32> {
    return vec2(u32(a & 0xfffffffflu), u32(a >> 32u));
}

fn wide_add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return wide_cut(wide_join(a) + wide_join(b));
}

fn wide_neg(a: vec2<u32>) -> vec2<u32> {
    return wide_cut(0lu - wide_join(a));
}

fn wide_mul(a: u32, b: u32) -> vec2<u32> {
    return wide_cut(u64(a) * u64(b));
}

// a * b for a signed and b unsigned below 2^31
fn wide_mul_signed(a: i32, b: u32) -> vec2<u32> {
    return wide_cut(bitcast<u64>(i64(a) * i64(bitcast<i32>(b))));
}

// sum of the squares of values up to 2^22
fn wide_squares(m: vec4<u32>) -> vec2<u32> {
    let a = u64(m.x) * u64(m.x) + u64(m.y) * u64(m.y);
    return wide_cut(a + u64(m.z) * u64(m.z) + u64(m.w) * u64(m.w));
}

// a << n for 0 <= n < 32
fn wide_shl(a: vec2<u32>, n: u32) -> vec2<u32> {
    return wide_cut(wide_join(a) << n);
}

// a - b, modulo 2^64
fn wide_sub(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return wide_cut(wide_join(a) - wide_join(b));
}

// -1, 0, 1 as a <, =, > b, unsigned
fn wide_cmp(a: vec2<u32>, b: vec2<u32>) -> i32 {
    let x = wide_join(a);
    let y = wide_join(b);
    return select(select(0, 1, x > y), -1, x < y);
}

// the smaller one, unsigned
fn wide_min(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return wide_cut(min(wide_join(a), wide_join(b)));
}

// value * 2^-drop, rounded half to even, for 0 <= drop < 64; the result fits 32 bits
fn wide_round_shift(value: vec2<u32>, drop: u32) -> u32 {
    if drop == 0u {
        return value.x;
    }
    let v = wide_join(value);
    let kept = u32((v >> drop) & 0xfffffffflu);
    let rest = v << (64u - drop);
    let half = 0x8000000000000000lu;
    return kept + select(0u, 1u, rest > half || (rest == half && (kept & 1u) == 1u));
}
