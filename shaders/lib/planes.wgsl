// Sums over the bit planes of 16 packed symbols (src/codebook.rs) times integer activations. A plane is U or W at one stage;
// a byte plane is the high or the low byte of all activations.
// Provides: PLANES, BYTES, EACH_BYTE, planes_code_sums, Sums, Terms, WordCodes, Word, planes_add, planes_sums

override PLANES: u32; // planes: U, if there is one, and W in all stages
override BYTES: u32; // byte planes: 2 (high signed, low unsigned) or 1

const EACH_BYTE = 0x01010101u;

// Sums of one plane with high bytes: bit 0 with re, bit 1 with re, bit 0 with im, bit 1 with im.
fn planes_dot_high(code: u32, k: u32, re: u32, im: u32) -> vec4<i32> {
    let b0 = (code >> (2u * k)) & EACH_BYTE;
    let b1 = (code >> (2u * k + 1u)) & EACH_BYTE;
    return vec4(
        dot4I8Packed(b0, re),
        dot4I8Packed(b1, re),
        dot4I8Packed(b0, im),
        dot4I8Packed(b1, im),
    );
}

fn planes_dot_low(code: u32, k: u32, re: u32, im: u32) -> vec4<i32> {
    let b0 = (code >> (2u * k)) & EACH_BYTE;
    let b1 = (code >> (2u * k + 1u)) & EACH_BYTE;
    return vec4<i32>(vec4(
        dot4U8Packed(b0, re),
        dot4U8Packed(b1, re),
        dot4U8Packed(b0, im),
        dot4U8Packed(b1, im),
    ));
}

fn planes_word_high(code: u32, re: vec4<u32>, im: vec4<u32>) -> vec4<i32> {
    return planes_dot_high(code, 0u, re.x, im.x) + planes_dot_high(code, 1u, re.y, im.y)
        + planes_dot_high(code, 2u, re.z, im.z) + planes_dot_high(code, 3u, re.w, im.w);
}

fn planes_word_low(code: u32, re: vec4<u32>, im: vec4<u32>) -> vec4<i32> {
    return planes_dot_low(code, 0u, re.x, im.x) + planes_dot_low(code, 1u, re.y, im.y)
        + planes_dot_low(code, 2u, re.z, im.z) + planes_dot_low(code, 3u, re.w, im.w);
}

// The sum of 16 activations.
fn planes_total_high(x: vec4<u32>) -> i32 {
    return dot4I8Packed(EACH_BYTE, x.x) + dot4I8Packed(EACH_BYTE, x.y)
        + dot4I8Packed(EACH_BYTE, x.z) + dot4I8Packed(EACH_BYTE, x.w);
}

fn planes_total_low(x: vec4<u32>) -> i32 {
    return i32(dot4U8Packed(EACH_BYTE, x.x) + dot4U8Packed(EACH_BYTE, x.y)
        + dot4U8Packed(EACH_BYTE, x.z) + dot4U8Packed(EACH_BYTE, x.w));
}

// From bit-plane sums to sum Re(i^k) * re, sum Im(i^k) * re, sum Re(i^k) * im, sum Im(i^k) * im.
fn planes_code_sums(bits: vec4<i32>, total: vec2<i32>) -> vec4<i32> {
    return vec4(
        total.x - bits.x - bits.y,
        bits.x - bits.y,
        total.y - bits.z - bits.w,
        bits.z - bits.w,
    );
}

// Bit-plane sums of one plane, of the high and of the low bytes.
struct Sums {
    high: vec4<i32>,
    low: vec4<i32>,
}

// Sums of all planes, as named members, because indexed ones would not stay in registers.
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

// The codes of all planes at one word.
struct WordCodes {
    first: vec4<u32>,
    second: vec4<u32>,
}

// 16 complex activations.
struct Word {
    re_high: vec4<u32>,
    im_high: vec4<u32>,
    re_low: vec4<u32>,
    im_low: vec4<u32>,
}

fn planes_add_word(s: Sums, code: u32, a: Word) -> Sums {
    var low = s.low;
    if BYTES == 2u {
        low += planes_word_low(code, a.re_low, a.im_low);
    }
    return Sums(s.high + planes_word_high(code, a.re_high, a.im_high), low);
}

// Sums of both halves of a word.
fn planes_word_total(a: Word) -> vec2<i32> {
    let high = vec2(planes_total_high(a.re_high), planes_total_high(a.im_high));
    if BYTES == 2u {
        return high * 256 + vec2(planes_total_low(a.re_low), planes_total_low(a.im_low));
    }
    return high;
}

fn planes_add(s: Terms, c: WordCodes, a: Word) -> Terms {
    var r = s;
    r.total += planes_word_total(a);
    r.t0 = planes_add_word(s.t0, c.first.x, a);
    if PLANES > 1u {
        r.t1 = planes_add_word(s.t1, c.first.y, a);
    }
    if PLANES > 2u {
        r.t2 = planes_add_word(s.t2, c.first.z, a);
    }
    if PLANES > 3u {
        r.t3 = planes_add_word(s.t3, c.first.w, a);
    }
    if PLANES > 4u {
        r.t4 = planes_add_word(s.t4, c.second.x, a);
        r.t5 = planes_add_word(s.t5, c.second.y, a);
    }
    if PLANES > 6u {
        r.t6 = planes_add_word(s.t6, c.second.z, a);
        r.t7 = planes_add_word(s.t7, c.second.w, a);
    }
    return r;
}

fn planes_sums(s: Sums, total: vec2<i32>) -> vec4<i32> {
    return planes_code_sums(select(s.high, s.high * 256 + s.low, BYTES == 2u), total);
}
