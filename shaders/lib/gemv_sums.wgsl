// An invocation's share of the sums of a row: dots of bits of codes with bytes of the token, both in registers.
// Features planes.wgsl and a codes_T.wgsl.
//
// Where a byte of codes has a column's bits of four terms, no mask needs a shift: bit b counts 2^b times in its sums.

override HELD: u32; // words of an invocation, 1 to 4

// 16 complex activations of each word
struct Share {
    w0: Word,
    w1: Word,
    w2: Word,
    w3: Word,
}

struct Row {
    c0: Codes,
    c1: Codes,
    c2: Codes,
    c3: Codes,
}

// sums of four terms, each: bit 0 with re, bit 1 with re, bit 0 with im, bit 1 with im
struct Four {
    t0: vec4<i32>,
    t1: vec4<i32>,
    t2: vec4<i32>,
    t3: vec4<i32>,
}

fn dots_high(b0: u32, b1: u32, re: u32, im: u32) -> vec4<i32> {
    return vec4(
        dot4I8Packed(b0, re),
        dot4I8Packed(b1, re),
        dot4I8Packed(b0, im),
        dot4I8Packed(b1, im),
    );
}

fn dots_low(b0: u32, b1: u32, re: u32, im: u32) -> vec4<i32> {
    return vec4<i32>(vec4(
        dot4U8Packed(b0, re),
        dot4U8Packed(b1, re),
        dot4U8Packed(b0, im),
        dot4U8Packed(b1, im),
    ));
}

fn bit(c: u32, i: u32) -> u32 {
    return c & (EACH_BYTE << i);
}

// A word a term (one stage and three)

// four columns of one term: bits i and i + 1 of each byte
fn add_columns(s: Sums, c: u32, i: u32, high: vec2<u32>, low: vec2<u32>) -> Sums {
    let b0 = bit(c, i);
    let b1 = bit(c, i + 1u);
    let sum = s.high + dots_high(b0, b1, high.x, high.y);
    if PLANES == 1u {
        return Sums(sum, s.low);
    }
    return Sums(sum, s.low + dots_low(b0, b1, low.x, low.y));
}

// 16 columns; sums of bit 1 count twice, which saves the shift of its masks
fn add_word_of_term(s: Sums, c: u32, a: Word) -> Sums {
    var sum = add_columns(s, c, 0u, vec2(a.re_high.x, a.im_high.x), vec2(a.re_low.x, a.im_low.x));
    sum = add_columns(sum, c >> 2u, 0u, vec2(a.re_high.y, a.im_high.y), vec2(a.re_low.y, a.im_low.y));
    sum = add_columns(sum, c >> 4u, 0u, vec2(a.re_high.z, a.im_high.z), vec2(a.re_low.z, a.im_low.z));
    return add_columns(sum, c >> 6u, 0u, vec2(a.re_high.w, a.im_high.w), vec2(a.re_low.w, a.im_low.w));
}

// both planes, each bit once; `shift`: by how much bit 0 counts too often
fn whole(s: Sums, shift: u32) -> vec4<i32> {
    let shifts = vec4(shift, shift + 1u, shift, shift + 1u);
    if PLANES == 1u {
        return s.high >> shifts;
    }
    // the highest bit of a byte is its sign where bytes are signed
    let sign = select(vec4(1i), vec4(1i, -1i, 1i, -1i), shift == 6u);
    return (((sign * s.high) << vec4(8u)) + s.low) >> shifts;
}

fn term_sums(r: Row, t: u32, x: Share) -> vec4<i32> {
    var sum = add_word_of_term(Sums(vec4(0i), vec4(0i)), word(r.c0, t), x.w0);
    if HELD > 1u {
        sum = add_word_of_term(sum, word(r.c1, t), x.w1);
    }
    if HELD > 2u {
        sum = add_word_of_term(sum, word(r.c2, t), x.w2);
    }
    if HELD > 3u {
        sum = add_word_of_term(sum, word(r.c3, t), x.w3);
    }
    return whole(sum, 0u);
}

// A byte a column (two stages and four): words 4 g to 4 g + 3 are those of terms 4 g to 4 g + 3

// term t of a group; with two planes there are not registers enough for all sums of a group at once
fn add_term(s: Sums, c: Codes, g: u32, t: u32, a: Word) -> Sums {
    let i = 2u * t;
    var sum = add_columns(s, word(c, 4u * g), i, vec2(a.re_high.x, a.im_high.x), vec2(a.re_low.x, a.im_low.x));
    sum = add_columns(sum, word(c, 4u * g + 1u), i, vec2(a.re_high.y, a.im_high.y), vec2(a.re_low.y, a.im_low.y));
    sum = add_columns(sum, word(c, 4u * g + 2u), i, vec2(a.re_high.z, a.im_high.z), vec2(a.re_low.z, a.im_low.z));
    return add_columns(sum, word(c, 4u * g + 3u), i, vec2(a.re_high.w, a.im_high.w), vec2(a.re_low.w, a.im_low.w));
}

fn one_of_four(r: Row, g: u32, t: u32, x: Share) -> vec4<i32> {
    var sum = add_term(Sums(vec4(0i), vec4(0i)), r.c0, g, t, x.w0);
    if HELD > 1u {
        sum = add_term(sum, r.c1, g, t, x.w1);
    }
    if HELD > 2u {
        sum = add_term(sum, r.c2, g, t, x.w2);
    }
    if HELD > 3u {
        sum = add_term(sum, r.c3, g, t, x.w3);
    }
    return whole(sum, 2u * t);
}

// Four columns of all terms of a group, one plane. The last mask is left out: a byte is -2^7 times bit 7 and the other
// bits, whose sums are known.
fn add_bytes(s: Four, c: u32, re: u32, im: u32) -> Four {
    return Four(
        s.t0 + dots_high(bit(c, 0u), bit(c, 1u), re, im),
        s.t1 + dots_high(bit(c, 2u), bit(c, 3u), re, im),
        s.t2 + dots_high(bit(c, 4u), bit(c, 5u), re, im),
        s.t3 + dots_high(bit(c, 6u), c, re, im),
    );
}

fn add_group(s: Four, c: Codes, g: u32, a: Word) -> Four {
    var sum = add_bytes(s, word(c, 4u * g), a.re_high.x, a.im_high.x);
    sum = add_bytes(sum, word(c, 4u * g + 1u), a.re_high.y, a.im_high.y);
    sum = add_bytes(sum, word(c, 4u * g + 2u), a.re_high.z, a.im_high.z);
    return add_bytes(sum, word(c, 4u * g + 3u), a.re_high.w, a.im_high.w);
}

fn four_sums(r: Row, g: u32, x: Share) -> Four {
    if PLANES == 2u {
        return Four(one_of_four(r, g, 0u, x), one_of_four(r, g, 1u, x), one_of_four(r, g, 2u, x), one_of_four(r, g, 3u, x));
    }
    var sum = add_group(Four(vec4(0i), vec4(0i), vec4(0i), vec4(0i)), r.c0, g, x.w0);
    if HELD > 1u {
        sum = add_group(sum, r.c1, g, x.w1);
    }
    if HELD > 2u {
        sum = add_group(sum, r.c2, g, x.w2);
    }
    if HELD > 3u {
        sum = add_group(sum, r.c3, g, x.w3);
    }
    return sum;
}

// Each bit once, of the gathered sums of term t; `before`: what those of its group before it add up to, re and im
fn bits_of_term(gathered: vec4<i32>, before: vec2<i32>, t: u32) -> vec4<i32> {
    if PLANES == 2u || TERMS % 4u != 0u {
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
