// Sums over the bit planes of 16 packed symbols (src/quarter.rs) times integer activations.

override TERMS: u32;  // U and W in all stages
override PLANES: u32; // bytes of an activation: 2 (high signed, low unsigned) or 1

const EACH_BYTE = 0x01010101u;

// sums of one term: bit 0 with re, bit 1 with re, bit 0 with im, bit 1 with im
fn dot_high(code: u32, k: u32, re: u32, im: u32) -> vec4<i32> {
    let b0 = (code >> (2u * k)) & EACH_BYTE;
    let b1 = (code >> (2u * k + 1u)) & EACH_BYTE;
    return vec4(
        dot4I8Packed(b0, re),
        dot4I8Packed(b1, re),
        dot4I8Packed(b0, im),
        dot4I8Packed(b1, im),
    );
}

fn dot_low(code: u32, k: u32, re: u32, im: u32) -> vec4<i32> {
    let b0 = (code >> (2u * k)) & EACH_BYTE;
    let b1 = (code >> (2u * k + 1u)) & EACH_BYTE;
    return vec4<i32>(vec4(
        dot4U8Packed(b0, re),
        dot4U8Packed(b1, re),
        dot4U8Packed(b0, im),
        dot4U8Packed(b1, im),
    ));
}

fn word_high(code: u32, re: vec4<u32>, im: vec4<u32>) -> vec4<i32> {
    return dot_high(code, 0u, re.x, im.x) + dot_high(code, 1u, re.y, im.y)
        + dot_high(code, 2u, re.z, im.z) + dot_high(code, 3u, re.w, im.w);
}

fn word_low(code: u32, re: vec4<u32>, im: vec4<u32>) -> vec4<i32> {
    return dot_low(code, 0u, re.x, im.x) + dot_low(code, 1u, re.y, im.y)
        + dot_low(code, 2u, re.z, im.z) + dot_low(code, 3u, re.w, im.w);
}

// sum of 16 activations
fn total_high(x: vec4<u32>) -> i32 {
    return dot4I8Packed(EACH_BYTE, x.x) + dot4I8Packed(EACH_BYTE, x.y)
        + dot4I8Packed(EACH_BYTE, x.z) + dot4I8Packed(EACH_BYTE, x.w);
}

fn total_low(x: vec4<u32>) -> i32 {
    return i32(dot4U8Packed(EACH_BYTE, x.x) + dot4U8Packed(EACH_BYTE, x.y)
        + dot4U8Packed(EACH_BYTE, x.z) + dot4U8Packed(EACH_BYTE, x.w));
}

// from bit-plane sums to sum Re(i^k) re, sum Im(i^k) re, sum Re(i^k) im, sum Im(i^k) im
fn turn(planes: vec4<i32>, total: vec2<i32>) -> vec4<i32> {
    return vec4(
        total.x - planes.x - planes.y,
        planes.x - planes.y,
        total.y - planes.z - planes.w,
        planes.z - planes.w,
    );
}

// bit-plane sums of one term, of the high and of the low bytes
struct Sums {
    high: vec4<i32>,
    low: vec4<i32>,
}

// sums of all terms; named members, since indexed ones would not stay in registers
struct Terms {
    t0: Sums,
    t1: Sums,
    t2: Sums,
    t3: Sums,
    t4: Sums,
    t5: Sums,
    t6: Sums,
    t7: Sums,
    total: vec2<i32>,
}

// the codes of all terms at one word
struct WordCodes {
    first: vec4<u32>,
    second: vec4<u32>,
}

// 16 complex activations
struct Word {
    re_high: vec4<u32>,
    im_high: vec4<u32>,
    re_low: vec4<u32>,
    im_low: vec4<u32>,
}

fn add_word(s: Sums, code: u32, a: Word) -> Sums {
    var low = s.low;
    if PLANES == 2u {
        low += word_low(code, a.re_low, a.im_low);
    }
    return Sums(s.high + word_high(code, a.re_high, a.im_high), low);
}

// sums of both parts of a word
fn word_total(a: Word) -> vec2<i32> {
    let high = vec2(total_high(a.re_high), total_high(a.im_high));
    if PLANES == 2u {
        return high * 256 + vec2(total_low(a.re_low), total_low(a.im_low));
    }
    return high;
}

fn add_terms(s: Terms, c: WordCodes, a: Word) -> Terms {
    var r = s;
    r.total += word_total(a);
    r.t0 = add_word(s.t0, c.first.x, a);
    r.t1 = add_word(s.t1, c.first.y, a);
    if TERMS > 2u {
        r.t2 = add_word(s.t2, c.first.z, a);
        r.t3 = add_word(s.t3, c.first.w, a);
    }
    if TERMS > 4u {
        r.t4 = add_word(s.t4, c.second.x, a);
        r.t5 = add_word(s.t5, c.second.y, a);
    }
    if TERMS > 6u {
        r.t6 = add_word(s.t6, c.second.z, a);
        r.t7 = add_word(s.t7, c.second.w, a);
    }
    return r;
}

fn sums_of(s: Sums, total: vec2<i32>) -> vec4<i32> {
    return turn(select(s.high, s.high * 256 + s.low, PLANES == 2u), total);
}
