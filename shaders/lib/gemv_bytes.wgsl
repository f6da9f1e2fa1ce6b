// An invocation's share of the sums of a row where codes come as a byte for each column (four planes and eight): words
// 4 g to 4 g + 3 of the codes are those of planes 4 g to 4 g + 3, a group. No bit is shifted before it is multiplied:
// bit b of a byte counts 2^b times in its sum.
// Requires: codes_word, gemv_add_columns, gemv_bit, gemv_both_bytes, gemv_dots_high, BYTES, Codes, HELD, PLANES,
//    Row, Share, Sums, Word
// Provides: Four, gemv_four_sums, gemv_bit_sums

// Sums of the four planes of a group, each: bit 0 with re, bit 1 with re, bit 0 with im, bit 1 with im.
struct Four {
    t0: vec4<i32>,
    t1: vec4<i32>,
    t2: vec4<i32>,
    t3: vec4<i32>,
}

// Adds 16 columns of plane t of group g.
fn gemv_add_one_of_four(s: Sums, c: Codes, g: u32, t: u32, a: Word) -> Sums {
    let i = 2u * t;
    var sum = gemv_add_columns(s, codes_word(c, 4u * g), i, vec2(a.re_high.x, a.im_high.x), vec2(a.re_low.x, a.im_low.x));
    sum = gemv_add_columns(sum, codes_word(c, 4u * g + 1u), i, vec2(a.re_high.y, a.im_high.y), vec2(a.re_low.y, a.im_low.y));
    sum = gemv_add_columns(sum, codes_word(c, 4u * g + 2u), i, vec2(a.re_high.z, a.im_high.z), vec2(a.re_low.z, a.im_low.z));
    return gemv_add_columns(sum, codes_word(c, 4u * g + 3u), i, vec2(a.re_high.w, a.im_high.w), vec2(a.re_low.w, a.im_low.w));
}

// The sums of plane t of group g. With two byte planes one plane is summed after the other, because there are not
// registers enough for the sums of all four at once.
fn gemv_one_of_four(r: Row, g: u32, t: u32, x: Share) -> vec4<i32> {
    var sum = gemv_add_one_of_four(Sums(vec4(0i), vec4(0i)), r.c0, g, t, x.w0);
    if HELD > 1u {
        sum = gemv_add_one_of_four(sum, r.c1, g, t, x.w1);
    }
    if HELD > 2u {
        sum = gemv_add_one_of_four(sum, r.c2, g, t, x.w2);
    }
    if HELD > 3u {
        sum = gemv_add_one_of_four(sum, r.c3, g, t, x.w3);
    }
    return gemv_both_bytes(sum, 2u * t);
}

// Adds four columns of all planes of a group, with one byte plane. The last mask is left out: the byte itself is -2^7
// times its bit 7 plus its other bits, whose sums are known, so gemv_bit_sums can take them off.
fn gemv_add_bytes(s: Four, c: u32, re: u32, im: u32) -> Four {
    return Four(
        s.t0 + gemv_dots_high(gemv_bit(c, 0u), gemv_bit(c, 1u), re, im),
        s.t1 + gemv_dots_high(gemv_bit(c, 2u), gemv_bit(c, 3u), re, im),
        s.t2 + gemv_dots_high(gemv_bit(c, 4u), gemv_bit(c, 5u), re, im),
        s.t3 + gemv_dots_high(gemv_bit(c, 6u), c, re, im),
    );
}

// Adds 16 columns of all planes of group g, with one byte plane.
fn gemv_add_group(s: Four, c: Codes, g: u32, a: Word) -> Four {
    var sum = gemv_add_bytes(s, codes_word(c, 4u * g), a.re_high.x, a.im_high.x);
    sum = gemv_add_bytes(sum, codes_word(c, 4u * g + 1u), a.re_high.y, a.im_high.y);
    sum = gemv_add_bytes(sum, codes_word(c, 4u * g + 2u), a.re_high.z, a.im_high.z);
    return gemv_add_bytes(sum, codes_word(c, 4u * g + 3u), a.re_high.w, a.im_high.w);
}

// The sums of group g over an invocation's words, as gemv_bit_sums takes them.
fn gemv_four_sums(r: Row, g: u32, x: Share) -> Four {
    if BYTES == 2u {
        let s0 = gemv_one_of_four(r, g, 0u, x);
        let s1 = gemv_one_of_four(r, g, 1u, x);
        return Four(s0, s1, gemv_one_of_four(r, g, 2u, x), gemv_one_of_four(r, g, 3u, x));
    }
    var sum = gemv_add_group(Four(vec4(0i), vec4(0i), vec4(0i), vec4(0i)), r.c0, g, x.w0);
    if HELD > 1u {
        sum = gemv_add_group(sum, r.c1, g, x.w1);
    }
    if HELD > 2u {
        sum = gemv_add_group(sum, r.c2, g, x.w2);
    }
    if HELD > 3u {
        sum = gemv_add_group(sum, r.c3, g, x.w3);
    }
    return sum;
}

// The sums of the bits of plane t, each bit counted once, from the sums over a row. `before` is what the sums of the
// planes before t in its group add up to, with re and with im.
fn gemv_bit_sums(gathered: vec4<i32>, before: vec2<i32>, t: u32) -> vec4<i32> {
    if BYTES == 2u || PLANES % 4u != 0u {
        return gathered;
    }
    var bits = gathered;
    if t % 4u == 3u {
        let others = before + bits.xz;
        bits.y = others.x - bits.y;
        bits.w = others.y - bits.w;
    }
    let shift = t % 4u * 2u;
    return bits >> vec4(shift, shift + 1u, shift, shift + 1u);
}
