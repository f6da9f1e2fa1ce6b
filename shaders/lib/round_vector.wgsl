// One token's activations, normalized if asked for, rounded to integers by a workgroup; exact in every step.
// The kernel declares p (.quarter: vec4s in half a row, .eps_n, .root_n), x, weight, WIDTH, PLANES, plane_words(),
// normed(), put(plane, word, bytes) and leave_totals(index, sums of an invocation's integers, re and im); needs
// round.wgsl, a bits*.wgsl, a wide*.wgsl and a team_*.wgsl.
//
// Normalizing is exact because the norm only scales: the integers of x w / rms(x) are those of x w, and the factor
// is made of the exact sum of squares of 22-bit magnitudes (src/ops/activation/norm.rs).

const FAINT = 0x0d800000u; // bits of 2^-100: below, a vector counts as zero

// what is known of a token as soon as its integers are
struct Rounding {
    largest: u32, // bits of the largest |x|
    top: u32,     // of the largest |x w|, which becomes the last integer
}

// values k of the real and of the imaginary half
struct Eight {
    a: vec4<f32>,
    b: vec4<f32>,
}

// an invocation's share of a token and of the norm's weights, WIDTH apart: read once, both passes find it in registers
struct Token {
    x0: Eight,
    x1: Eight,
    x2: Eight,
    w0: Eight,
    w1: Eight,
    w2: Eight,
}

fn steps() -> u32 {
    return (plane_words() + WIDTH - 1u) / WIDTH;
}

// zero beyond the token
fn load_values(token: u32, k: u32) -> Eight {
    if k < p.quarter {
        let base = token * 2u * p.quarter;
        return Eight(x[base + k], x[base + p.quarter + k]);
    }
    return Eight(vec4(0.0), vec4(0.0));
}

fn load_weights(k: u32) -> Eight {
    if normed() && k < p.quarter {
        return Eight(weight[k], weight[p.quarter + k]);
    }
    return Eight(vec4(0.0), vec4(0.0));
}

fn load_token(index: u32, token: u32) -> Token {
    var t: Token;
    t.x0 = load_values(token, index);
    t.w0 = load_weights(index);
    if steps() > 1u {
        t.x1 = load_values(token, index + WIDTH);
        t.w1 = load_weights(index + WIDTH);
    }
    if steps() > 2u {
        t.x2 = load_values(token, index + 2u * WIDTH);
        t.w2 = load_weights(index + 2u * WIDTH);
    }
    return t;
}

// its next values come first; what follows after those in registers is loaded as late as this
fn advance(own: Token, token: u32, k: u32) -> Token {
    var t = Token(own.x1, own.x2, own.x2, own.w1, own.w2, own.w2);
    if steps() > 3u {
        t.x2 = load_values(token, k + 3u * WIDTH);
        t.w2 = load_weights(k + 3u * WIDTH);
    }
    return t;
}

// bits of |v|
fn magnitudes(v: vec4<f32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(v) & vec4(0x7fffffffu);
}

fn bits_of(v: vec4<f32>) -> u32 {
    let b = magnitudes(v);
    return max(max(b.x, b.y), max(b.z, b.w));
}

// bits of the largest |x| (0 without a norm) and |x w|
fn tops_of(x: Eight, w: Eight) -> vec2<u32> {
    let plain = max(bits_of(x.a), bits_of(x.b));
    if normed() {
        return vec2(plain, max(bits_of(x.a * w.a), bits_of(x.b * w.b)));
    }
    return vec2(0u, plain);
}

fn token_tops(index: u32, token: u32, t: Token) -> vec2<u32> {
    var tops = tops_of(t.x0, t.w0);
    if steps() > 1u {
        tops = max(tops, tops_of(t.x1, t.w1));
    }
    if steps() > 2u {
        tops = max(tops, tops_of(t.x2, t.w2));
    }
    for (var k = index + 3u * WIDTH; steps() > 3u && k < p.quarter; k += WIDTH) {
        tops = max(tops, tops_of(load_values(token, k), load_weights(k)));
    }
    return tops;
}

// 2^40 levels of two planes / mantissa of top, within 5 units of 32 bits
fn reciprocal(top: u32) -> u32 {
    let mt = (top & 0x7fffffu) | 0x800000u;
    let guess = u32(32767.0 / f32(mt) * 1099511627776.0);
    // what the guess leaves of the dividend, below 2^36 either way
    let rest = wide_add(vec2(0u, 32767u << 8u), wide_neg(wide_mul(guess, mt)));
    let left = f32(bitcast<i32>(rest.y)) * 4294967296.0 + f32(rest.x);
    return u32(i32(guess) + i32(left / f32(mt)));
}

// What makes integers of values. Floats decide, but where they may be wrong: close to a tie
struct Grid {
    top: u32,    // bits of the largest magnitude
    sure: f32,   // distance to an integer up to which floats are right
    factor: f32, // of one plane: 127 / top
    lift: f32,   // of two planes: `lift_of` top
    high: f32,   // the first 12 bits of 32767 / lifted top
    low: f32,    // and what they leave
    none: u32,   // 0, which no compiler can know
}

// a power of two that brings top to where quotients are normal floats
fn lift_of(top: u32) -> f32 {
    return select(select(1.0, 18446744073709551616.0, top < 0x1f800000u), 5.421010862427522e-20, top >= 0x5f800000u);
}

fn grid_of(top: u32) -> Grid {
    if PLANES == 1u {
        // 127 / top and its product with a value are within 4 units of f32 at 127, below 2^-14; division promises that
        // below 2^126
        let sure = select(0.49993896, -1.0, top >= 0x7e800000u);
        return Grid(top, sure, 127.0 / bitcast<f32>(top), 1.0, 0.0, 0.0, 0u);
    }
    let lift = lift_of(top);
    let inverse = reciprocal(top);
    let exponent = bitcast<u32>(bitcast<f32>(top) * lift) >> 23u;
    let scale = bitcast<f32>((269u - exponent) << 23u) * 2.3283064365386963e-10;
    let high = f32(inverse & 0xfff00000u) * scale;
    let low = f32(inverse & 0x000fffffu) * scale;
    // what is not NEAR of the error is below 2^-22
    return Grid(top, 0.49999976, 0.0, lift, high, low, top >> 31u);
}

// integers nearest to four quotients, and how far from them these may be
struct Near {
    n: vec4<i32>,
    off: vec4<f32>,
}

// of a quotient, its error with two planes: 5 of 2^31 and little more; here 2^-27
const NEAR = 7.450581e-9;

// 1.5 2^23: where floats count integers, of either sign
const COUNTER = 12582912.0;

fn nearest(v: vec4<f32>) -> vec4<i32> {
    return bitcast<vec4<i32>>(v + COUNTER) - vec4(0x4b400000);
}

fn near_integers(value: vec4<f32>, g: Grid) -> Near {
    if PLANES == 1u {
        let quotient = value * g.factor;
        let n = nearest(quotient);
        return Near(n, abs(quotient - vec4<f32>(n)));
    }
    // the product of the first 12 bits of both is exact; what is left is small, and so is its error
    let v = value * g.lift;
    let first = bitcast<vec4<f32>>(bitcast<vec4<u32>>(v) & vec4(0xfffff000u));
    let whole = first * g.high;
    let rest = v * g.low + (v - first) * g.high;
    let n = nearest(whole + rest);
    // exact, unless a compiler added in another order: it can not through an integer
    let left = bitcast<vec4<f32>>(bitcast<vec4<u32>>(whole - vec4<f32>(n)) | vec4(g.none));
    return Near(n, abs(left + rest) + abs(whole) * NEAR);
}

// n, or where floats are not sure of it, the integer below the quotient or the one above, as integers find
fn settled(n: i32, sure: bool, value: f32, top: u32) -> i32 {
    let lift = lift_of(top);
    let levels = select(127u, 32767u, PLANES == 2u);
    let k = u32(abs(value * lift) * (f32(levels) / (bitcast<f32>(top) * lift)));
    let magnitude = bitcast<u32>(value) & 0x7fffffffu;
    let d = min((top >> 23u) - (magnitude >> 23u), 31u);
    let mx = (magnitude & 0x7fffffu) | 0x800000u;
    let mt = (top & 0x7fffffu) | 0x800000u;
    let above = wide_cmp(wide_mul(mx, 2u * levels), wide_shl(wide_mul(mt, 2u * k + 1u), d));
    let q = i32(k + select(0u, 1u, above > 0 || (above == 0 && (k & 1u) == 1u)));
    return select(select(q, -q, value < 0.0), n, sure);
}

fn settled_four(near: Near, v: vec4<f32>, g: Grid) -> vec4<i32> {
    let sure = near.off <= vec4(g.sure);
    return vec4(
        settled(near.n.x, sure.x, v.x, g.top),
        settled(near.n.y, sure.y, v.y, g.top),
        settled(near.n.z, sure.z, v.z, g.top),
        settled(near.n.w, sure.w, v.w, g.top),
    );
}

// the integers of eight values
fn rounded_eight(v: Eight, g: Grid) -> array<vec4<i32>, 2> {
    let a = near_integers(v.a, g);
    let b = near_integers(v.b, g);
    if all(max(a.off, b.off) <= vec4(g.sure)) {
        return array(a.n, b.n);
    }
    return array(settled_four(a, v.a, g), settled_four(b, v.b, g));
}

// four bytes: a multiplication each, where masks and shifts would be three
fn packed(u: vec4<u32>) -> u32 {
    return u.x + 256u * u.y + 65536u * u.z + 16777216u * u.w;
}

// four bytes of each plane of a part (0 real, 1 imaginary)
fn put_four(part: u32, word: u32, v: vec4<i32>) {
    if PLANES == 1u {
        put(part, word, packed(vec4<u32>(v + 128)) ^ 0x80808080u);
        return;
    }
    let u = vec4<u32>(v + 32768);
    let high = packed(u >> vec4(8u));
    put(2u * part, word, high ^ 0x80808080u);
    put(2u * part + 1u, word, packed(u) - 256u * high);
}

// sum of the squares of magnitudes of 22 bits
fn squares(v: vec4<f32>, twice: f32) -> vec2<u32> {
    return wide_squares((vec4<u32>(abs(v) * twice) + vec4(1u)) >> vec4(1u));
}

// r^2 m
fn cube(r: u32, m: u32) -> vec2<u32> {
    let square = wide_mul(r, r);
    return wide_add(wide_mul(square.x, m), vec2(0u, square.y * m));
}

// the largest R / 2^24 2^-k with its square not above 1 / a, for a positive normal f32: 24 bits of 1 / sqrt(a)
fn root_inverse(a: f32) -> f32 {
    let bits = bitcast<u32>(a);
    let e = i32(bits >> 23u) - 127;
    let odd = u32(e & 1);
    let m = ((bits & 0x7fffffu) | 0x800000u) << odd;
    // 20 bits from the device's own root, mended
    var r = min(u32(inverseSqrt(f32(m) / 8388608.0) * 1048576.0) + 2u, 1048576u);
    for (var i = 0u; i < 16u && wide_cmp(cube(r, m), vec2(0u, 0x80000000u)) > 0; i++) {
        r -= 1u;
    }
    // four bits more, one by one
    var rest = wide_add(vec2(0u, 0x80000000u), wide_neg(cube(r, m)));
    for (var i = 0u; i < 4u; i++) {
        let more = wide_mul(4u * r + 1u, m);
        rest = wide_shl(rest, 2u);
        r *= 2u;
        if wide_cmp(more, rest) <= 0 {
            rest = wide_add(rest, wide_neg(more));
            r += 1u;
        }
    }
    let exponent = 127 - 24 - (e - i32(odd)) / 2;
    return f32(r) * bitcast<f32>(u32(exponent) << 23u);
}

// 1 / rms from the sum of squares in units of 2^(2 e - 44)
fn inverse_rms(sum: vec2<u32>, e: i32) -> f32 {
    var squares = 0.0;
    if (sum.x | sum.y) != 0u {
        squares = to_f32(sum, 0x3f800000u, 2 * e - 44);
    }
    return root_inverse(squares + p.eps_n) * p.root_n;
}

// puts the token's integers; `factor_of` may follow after a barrier. `own` is of this invocation, `tops` of the token
fn round_vector(index: u32, token: u32, own: Token, tops: vec2<u32>) -> Rounding {
    let r = Rounding(tops.x, max(tops.y, select(LEAST, FAINT, normed())));
    let twice = bitcast<f32>((276u - max(tops.x, FAINT) / 0x800000u) << 23u); // 2^(23 - e) of what is not faint
    let grid = grid_of(r.top);
    var t = own;
    var sum = vec2(0u);
    var totals = vec2(0i);
    for (var k = index; k < plane_words(); k += WIDTH) {
        var v = t.x0;
        if normed() {
            sum = wide_add(sum, wide_add(squares(v.a, twice), squares(v.b, twice)));
            v = Eight(v.a * t.w0.a, v.b * t.w0.b);
        }
        let q = rounded_eight(v, grid);
        put_four(0u, k, q[0]);
        put_four(1u, k, q[1]);
        totals += vec2((q[0].x + q[0].y) + (q[0].z + q[0].w), (q[1].x + q[1].y) + (q[1].z + q[1].w));
        if steps() == 1u {
            break; // known when the kernel is compiled: no loop, nothing to carry around it
        }
        t = advance(t, token, k);
    }
    leave_totals(index, totals);
    if normed() {
        leave_sum(index, sum);
    }
    return r;
}

// bits of the f32 that one integer step is worth, times levels. `index` within a whole team, or within the workgroup
// where sums need all of it (team_shared.wgsl)
fn factor_of(index: u32, r: Rounding) -> u32 {
    var factor = bitcast<f32>(r.top);
    if normed() {
        let sum = left_sum(index);
        let faint = r.largest < FAINT;
        factor *= inverse_rms(select(sum, vec2(0u), faint), i32(r.largest >> 23u) - 126);
    }
    return bitcast<u32>(factor);
}
