// 64-bit integers as vec2<u32>(low, high); two's complement where signed.
// Provides: wide_add, wide_neg, wide_mul, wide_mul_signed, wide_squares, wide_shl, wide_shl_any, wide_shr,
//    wide_clz, wide_sub, wide_cmp, wide_min, wide_round_shift

fn wide_add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = a.x + b.x;
    return vec2(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn wide_neg(a: vec2<u32>) -> vec2<u32> {
    return wide_add(~a, vec2(1u, 0u));
}

// a * b, all 64 bits, from 16-bit halves
fn wide_mul(a: u32, b: u32) -> vec2<u32> {
    let al = a & 0xffffu;
    let ah = a >> 16u;
    let bl = b & 0xffffu;
    let bh = b >> 16u;
    let ll = al * bl;
    let lh = al * bh;
    let hl = ah * bl;
    let middle = (ll >> 16u) + (lh & 0xffffu) + (hl & 0xffffu);
    let low = (ll & 0xffffu) | (middle << 16u);
    return vec2(low, ah * bh + (lh >> 16u) + (hl >> 16u) + (middle >> 16u));
}

// a * b for a signed and b unsigned
fn wide_mul_signed(a: i32, b: u32) -> vec2<u32> {
    let product = wide_mul(u32(abs(a)), b);
    if a < 0 {
        return wide_neg(product);
    }
    return product;
}

// sum of the squares of values up to 2^22, from halves of 11 bits
fn wide_squares(m: vec4<u32>) -> vec2<u32> {
    let h = m >> vec4(11u);
    let l = m & vec4(2047u);
    let high = wide_shl(vec2(h.x * h.x + h.y * h.y + h.z * h.z + h.w * h.w, 0u), 22u);
    let both = wide_shl(vec2(h.x * l.x + h.y * l.y + h.z * l.z + h.w * l.w, 0u), 12u);
    return wide_add(wide_add(high, both), vec2(l.x * l.x + l.y * l.y + l.z * l.z + l.w * l.w, 0u));
}

// a << n for 0 <= n < 32
fn wide_shl(a: vec2<u32>, n: u32) -> vec2<u32> {
    if n == 0u {
        return a;
    }
    return vec2(a.x << n, (a.y << n) | (a.x >> (32u - n)));
}

// a << n for 0 <= n < 64
fn wide_shl_any(a: vec2<u32>, n: u32) -> vec2<u32> {
    if n < 32u {
        return wide_shl(a, n);
    }
    return vec2(0u, a.x << (n - 32u));
}

// a >> n for 0 <= n < 32, unsigned
fn wide_shr(a: vec2<u32>, n: u32) -> vec2<u32> {
    if n == 0u {
        return a;
    }
    return vec2((a.x >> n) | (a.y << (32u - n)), a.y >> n);
}

// zero bits above the leading one
fn wide_clz(a: vec2<u32>) -> u32 {
    if a.y != 0u {
        return countLeadingZeros(a.y);
    }
    return 32u + countLeadingZeros(a.x);
}

// a - b, modulo 2^64
fn wide_sub(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return vec2(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x));
}

// -1, 0, 1 as a <, =, > b, unsigned
fn wide_cmp(a: vec2<u32>, b: vec2<u32>) -> i32 {
    if a.y != b.y {
        return select(1, -1, a.y < b.y);
    }
    if a.x != b.x {
        return select(1, -1, a.x < b.x);
    }
    return 0;
}

// the smaller one, unsigned
fn wide_min(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return select(a, b, wide_cmp(b, a) < 0);
}

// value * 2^-drop, rounded half to even, for 0 <= drop < 64; the result fits 32 bits
fn wide_round_shift(value: vec2<u32>, drop: u32) -> u32 {
    if drop == 0u {
        return value.x;
    }
    var kept: u32;
    var half: bool;
    var rest: u32;
    if drop > 32u {
        let n = drop - 32u;
        kept = select(value.y >> n, 0u, n == 32u);
        half = ((value.y >> (n - 1u)) & 1u) == 1u;
        rest = value.x | (value.y & ((1u << (n - 1u)) - 1u));
    } else if drop == 32u {
        kept = value.y;
        half = (value.x >> 31u) == 1u;
        rest = value.x & 0x7fffffffu;
    } else {
        kept = (value.y << (32u - drop)) | (value.x >> drop);
        half = ((value.x >> (drop - 1u)) & 1u) == 1u;
        rest = value.x & ((1u << (drop - 1u)) - 1u);
    }
    return kept + select(0u, 1u, half && (rest != 0u || (kept & 1u) == 1u));
}
