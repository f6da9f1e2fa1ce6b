// An invocation's share of the sums of a row: dot products of bits of codes with bytes of the token, both in registers.
// Here are the codes that come as a word for each plane (one, two, three and six planes); gemv_bytes.wgsl has the others.
// Requires: codes_word, BYTES, Codes, EACH_BYTE, Sums, Word
// Provides: HELD, Share, Row, Rows, gemv_dots_high, gemv_bit, gemv_add_columns, gemv_both_bytes, gemv_plane_sums

override HELD: u32; // words that an invocation keeps, 1 to 4

// Words of the token, 16 complex activations each.
struct Share {
    w0: Word,
    w1: Word,
    w2: Word,
    w3: Word,
}

// Codes of a row.
struct Row {
    c0: Codes,
    c1: Codes,
    c2: Codes,
    c3: Codes,
}

// Codes of the rows that a tile works on at a time, in neighbouring slots: two with one plane, else one.
struct Rows {
    a: Row,
    b: Row,
}

// Sums of a plane with the high bytes of the token: bit 0 with re, bit 1 with re, bit 0 with im, bit 1 with im.
fn gemv_dots_high(b0: u32, b1: u32, re: u32, im: u32) -> vec4<i32> {
    return vec4(
        dot4I8Packed(b0, re),
        dot4I8Packed(b1, re),
        dot4I8Packed(b0, im),
        dot4I8Packed(b1, im),
    );
}

// The same with the low bytes, which have no sign.
fn gemv_dots_low(b0: u32, b1: u32, re: u32, im: u32) -> vec4<i32> {
    return vec4<i32>(vec4(
        dot4U8Packed(b0, re),
        dot4U8Packed(b1, re),
        dot4U8Packed(b0, im),
        dot4U8Packed(b1, im),
    ));
}

// Bit i of each byte, in its place: it counts 2^i times in a dot product, which saves the shift.
fn gemv_bit(c: u32, i: u32) -> u32 {
    return c & (EACH_BYTE << i);
}

// Adds four columns of one plane, whose bits are bits i and i + 1 of each byte of c.
fn gemv_add_columns(s: Sums, c: u32, i: u32, high: vec2<u32>, low: vec2<u32>) -> Sums {
    let b0 = gemv_bit(c, i);
    let b1 = gemv_bit(c, i + 1u);
    let sum = s.high + gemv_dots_high(b0, b1, high.x, high.y);
    if BYTES == 1u {
        return Sums(sum, s.low);
    }
    return Sums(sum, s.low + gemv_dots_low(b0, b1, low.x, low.y));
}

// Adds 16 columns of one plane.
fn gemv_add_word(s: Sums, c: u32, a: Word) -> Sums {
    var sum = gemv_add_columns(s, c, 0u, vec2(a.re_high.x, a.im_high.x), vec2(a.re_low.x, a.im_low.x));
    sum = gemv_add_columns(sum, c >> 2u, 0u, vec2(a.re_high.y, a.im_high.y), vec2(a.re_low.y, a.im_low.y));
    sum = gemv_add_columns(sum, c >> 4u, 0u, vec2(a.re_high.z, a.im_high.z), vec2(a.re_low.z, a.im_low.z));
    return gemv_add_columns(sum, c >> 6u, 0u, vec2(a.re_high.w, a.im_high.w), vec2(a.re_low.w, a.im_low.w));
}

// Joins the sums of both byte planes and divides out that bit 0 counted 2^shift times, and bit 1 twice as often.
fn gemv_both_bytes(s: Sums, shift: u32) -> vec4<i32> {
    let shifts = vec4(shift, shift + 1u, shift, shift + 1u);
    if BYTES == 1u {
        return s.high >> shifts;
    }
    // where bytes are signed, the highest bit of a byte is its sign
    let sign = select(vec4(1i), vec4(1i, -1i, 1i, -1i), shift == 6u);
    return (((sign * s.high) << vec4(8u)) + s.low) >> shifts;
}

// The sums of plane t over an invocation's words.
fn gemv_plane_sums(r: Row, t: u32, x: Share) -> vec4<i32> {
    var sum = gemv_add_word(Sums(vec4(0i), vec4(0i)), codes_word(r.c0, t), x.w0);
    if HELD > 1u {
        sum = gemv_add_word(sum, codes_word(r.c1, t), x.w1);
    }
    if HELD > 2u {
        sum = gemv_add_word(sum, codes_word(r.c2, t), x.w2);
    }
    if HELD > 3u {
        sum = gemv_add_word(sum, codes_word(r.c3, t), x.w3);
    }
    return gemv_both_bytes(sum, 0u);
}
