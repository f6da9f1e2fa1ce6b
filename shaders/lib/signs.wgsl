// Sums over 16 packed symbols (src/quarter.rs) times f32 activations. Features a codes_T.wgsl.

override TERMS: u32; // U and W in all stages

const SIGN = 0x80000000u;

// 16 complex activations; quarter k holds columns 4k to 4k + 3
struct Sixteen {
    re0: vec4<f32>,
    re1: vec4<f32>,
    re2: vec4<f32>,
    re3: vec4<f32>,
    im0: vec4<f32>,
    im1: vec4<f32>,
    im2: vec4<f32>,
    im3: vec4<f32>,
}

// of each term p re, q re, p im, q im, where p, q = +-1 are the signs of (1+i) i^k = p + i q; named members, since
// indexed ones would not stay in registers
struct Signed {
    t0: vec4<f32>,
    t1: vec4<f32>,
    t2: vec4<f32>,
    t3: vec4<f32>,
    t4: vec4<f32>,
    t5: vec4<f32>,
    t6: vec4<f32>,
    t7: vec4<f32>,
}

// a symbol whose bits are the highest of p and of q
fn signed_symbol(p: u32, q: u32, re: f32, im: f32) -> vec4<f32> {
    let signs = vec4(p, q, p, q) & vec4(SIGN);
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(vec4(re, re, im, im)) ^ signs);
}

// four columns, one in each byte
fn add_quarter(sum: vec4<f32>, code: u32, re: vec4<f32>, im: vec4<f32>) -> vec4<f32> {
    return sum + signed_symbol(code << 31u, code << 30u, re.x, im.x)
        + signed_symbol(code << 23u, code << 22u, re.y, im.y)
        + signed_symbol(code << 15u, code << 14u, re.z, im.z)
        + signed_symbol(code << 7u, code << 6u, re.w, im.w);
}

fn add_code(sum: vec4<f32>, code: u32, x: Sixteen) -> vec4<f32> {
    let first = add_quarter(sum, code, x.re0, x.im0);
    let second = add_quarter(first, code >> 2u, x.re1, x.im1);
    let third = add_quarter(second, code >> 4u, x.re2, x.im2);
    return add_quarter(third, code >> 6u, x.re3, x.im3);
}

fn add_codes(s: Signed, codes: Codes, x: Sixteen) -> Signed {
    let c = terms_of(codes);
    var r = s;
    r.t0 = add_code(s.t0, word(c, 0u), x);
    r.t1 = add_code(s.t1, word(c, 1u), x);
    if TERMS > 2u {
        r.t2 = add_code(s.t2, word(c, 2u), x);
        r.t3 = add_code(s.t3, word(c, 3u), x);
    }
    if TERMS > 4u {
        r.t4 = add_code(s.t4, word(c, 4u), x);
        r.t5 = add_code(s.t5, word(c, 5u), x);
    }
    if TERMS > 6u {
        r.t6 = add_code(s.t6, word(c, 6u), x);
        r.t7 = add_code(s.t7, word(c, 7u), x);
    }
    return r;
}

// to y_re, y_im of one term with scales s = (s_re, s_im); conj: the term belongs to W
fn scaled(sums: vec4<f32>, s: vec2<f32>, conj: bool) -> vec2<f32> {
    let re_x = 0.5 * (sums.x + sums.y); // sum Re(i^k) x_re
    let im_x = 0.5 * (sums.y - sums.x); // sum Im(i^k) x_re
    let sign = select(1.0, -1.0, conj);
    let re_y = sign * 0.5 * (sums.z + sums.w);
    let im_y = sign * 0.5 * (sums.w - sums.z);
    return vec2(s.x * re_x - s.y * im_y, s.x * re_y + s.y * im_x);
}
