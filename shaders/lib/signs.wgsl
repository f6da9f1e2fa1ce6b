// Sums over 16 packed symbols (src/codebook.rs) times f32 activations.
// Requires: codes_by_plane, codes_word, Codes
// Provides: PLANES, Sixteen, Signed, signs_add, signs_scaled

override PLANES: u32; // in all stages

const SIGN = 0x80000000u;

// 16 complex activations; re0 and im0 are columns 0 to 3, and so on.
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

// For each plane the sums of p * re, q * re, p * im and q * im, where p, q = +-1 are the signs of (1 + i) * i^k = p + i * q.
// They are named members, because indexed ones would not stay in registers.
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

// Applies a symbol, whose bits are the highest ones of p and of q.
fn signs_apply(p: u32, q: u32, re: f32, im: f32) -> vec4<f32> {
    let signs = vec4(p, q, p, q) & vec4(SIGN);
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(vec4(re, re, im, im)) ^ signs);
}

// Adds four columns, one in each byte.
fn signs_add_four(sum: vec4<f32>, code: u32, re: vec4<f32>, im: vec4<f32>) -> vec4<f32> {
    return sum + signs_apply(code << 31u, code << 30u, re.x, im.x)
        + signs_apply(code << 23u, code << 22u, re.y, im.y)
        + signs_apply(code << 15u, code << 14u, re.z, im.z)
        + signs_apply(code << 7u, code << 6u, re.w, im.w);
}

fn signs_add_word(sum: vec4<f32>, code: u32, x: Sixteen) -> vec4<f32> {
    let first = signs_add_four(sum, code, x.re0, x.im0);
    let second = signs_add_four(first, code >> 2u, x.re1, x.im1);
    let third = signs_add_four(second, code >> 4u, x.re2, x.im2);
    return signs_add_four(third, code >> 6u, x.re3, x.im3);
}

fn signs_add(s: Signed, codes: Codes, x: Sixteen) -> Signed {
    let c = codes_by_plane(codes);
    var r = s;
    r.t0 = signs_add_word(s.t0, codes_word(c, 0u), x);
    if PLANES > 1u {
        r.t1 = signs_add_word(s.t1, codes_word(c, 1u), x);
    }
    if PLANES > 2u {
        r.t2 = signs_add_word(s.t2, codes_word(c, 2u), x);
    }
    if PLANES > 3u {
        r.t3 = signs_add_word(s.t3, codes_word(c, 3u), x);
    }
    if PLANES > 4u {
        r.t4 = signs_add_word(s.t4, codes_word(c, 4u), x);
        r.t5 = signs_add_word(s.t5, codes_word(c, 5u), x);
    }
    if PLANES > 6u {
        r.t6 = signs_add_word(s.t6, codes_word(c, 6u), x);
        r.t7 = signs_add_word(s.t7, codes_word(c, 7u), x);
    }
    return r;
}

// What a plane adds to y_re and y_im with scales s = (s_re, s_im); `conj`: the plane acts on conj(x).
fn signs_scaled(sums: vec4<f32>, s: vec2<f32>, conj: bool) -> vec2<f32> {
    let re_x = 0.5 * (sums.x + sums.y); // sum Re(i^k) x_re
    let im_x = 0.5 * (sums.y - sums.x); // sum Im(i^k) x_re
    let sign = select(1.0, -1.0, conj);
    let re_y = sign * 0.5 * (sums.z + sums.w);
    let im_y = sign * 0.5 * (sums.w - sums.z);
    return vec2(s.x * re_x - s.y * im_y, s.x * re_y + s.y * im_x);
}
