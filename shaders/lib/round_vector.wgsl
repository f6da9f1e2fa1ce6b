// One token's activations, normalized if asked for, rounded to integers by a workgroup; exact in every step.
// The kernel declares p (.quarter: vec4s in half a row, .eps_n, .root_n), x, weight, WIDTH, PLANES, plane_words(),
// normed() and put(plane, word, bytes); needs round.wgsl, a bits*.wgsl, a wide*.wgsl and a team_*.wgsl.
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

// 2^40 levels of two planes / mantissa of top, within a few units: what `units_of` multiplies with
fn reciprocal(top: u32) -> u32 {
    let mt = (top & 0x7fffffu) | 0x800000u;
    let guess = u32(32767.0 / f32(mt) * 1099511627776.0);
    // what the guess leaves of the dividend, below 2^36 either way
    let rest = wide_add(vec2(0u, 32767u << 8u), wide_neg(wide_mul(guess, mt)));
    let left = f32(bitcast<i32>(rest.y)) * 4294967296.0 + f32(rest.x);
    return u32(i32(guess) + i32(left / f32(mt)));
}

const UNSURE = 0xffffffffu;

// |x| levels / top in units of 2^-(15 + d), where d is by how much its exponent is below that of top; off by less than
// 5. Half of what 32 bits hold, as a quotient of almost 2^(16 - d) is rounded up
fn units_of(magnitude: vec4<u32>, inverse: u32) -> vec4<u32> {
    let m = (magnitude << vec4(8u)) | vec4(0x80000000u);
    return vec4(
        wide_mul(m.x, inverse).y,
        wide_mul(m.y, inverse).y,
        wide_mul(m.z, inverse).y,
        wide_mul(m.w, inverse).y,
    ) >> vec4(1u);
}

// `quotient` of four for two planes, faster: the upper half of one product decides; UNSURE close to a tie
fn quick_quotients(magnitude: vec4<u32>, top: u32, inverse: u32) -> vec4<u32> {
    let d = vec4(top >> 23u) - (magnitude >> vec4(23u));
    let units = units_of(magnitude, inverse);
    let shift = vec4(15u) + min(d, vec4(15u));
    let shifted = units + (vec4(1u) << (shift - vec4(1u)));
    let near = ((shifted + vec4(5u)) & ((vec4(1u) << shift) - vec4(1u))) < vec4(10u);
    // 2^-17 of the top is nothing
    let small = select(vec4(UNSURE), vec4(0u), d > vec4(17u));
    return select(select(shifted >> shift, vec4(UNSURE), near), small, d > vec4(15u));
}

// what makes integers of magnitudes
struct Grid {
    top: u32,     // bits of the largest
    inverse: u32, // of two planes: `reciprocal`
    factor: f32,  // of one plane: 127 / top
    sure: f32,    // distance to an integer up to which `near_integers` can be trusted
}

fn grid_of(top: u32) -> Grid {
    if PLANES == 2u {
        return Grid(top, reciprocal(top), 0.0, 0.0);
    }
    // 127 / top and its product with a magnitude are within 4 units of f32 at 127, below 2^-14; division
    // promises that below 2^126
    return Grid(top, 0u, 127.0 / bitcast<f32>(top), select(0.49993896, -1.0, top >= 0x7e800000u));
}

// `quotient` of four for one plane, in floats; UNSURE close to a tie
fn near_integers(v: vec4<f32>, g: Grid) -> vec4<u32> {
    let exact = abs(v) * g.factor;
    let n = bitcast<vec4<u32>>(exact + 8388608.0) - vec4(0x4b000000u);
    let sure = abs(exact - vec4<f32>(n)) <= vec4(g.sure);
    return select(vec4(UNSURE), n, sure);
}

fn quick(v: vec4<f32>, g: Grid) -> vec4<u32> {
    if PLANES == 2u {
        return quick_quotients(magnitudes(v), g.top, g.inverse);
    }
    return near_integers(v, g);
}

// q, or where that is UNSURE what `quotient` says of a magnitude close to a tie: whether it is k or k + 1
fn settled(q: u32, k: u32, magnitude: u32, top: u32) -> u32 {
    let d = (top >> 23u) - (magnitude >> 23u);
    let mx = (magnitude & 0x7fffffu) | 0x800000u;
    let mt = (top & 0x7fffffu) | 0x800000u;
    var above = 0;
    if PLANES == 2u {
        above = wide_cmp(wide_mul(mx, 2u * 32767u), wide_shl(wide_mul(mt, 2u * k + 1u), d & 31u));
    } else {
        // as close as that, both fit 32 bits
        let left = mx * (2u * 127u);
        let right = (mt * (2u * k + 1u)) << (d & 31u);
        above = select(select(0, 1, left > right), -1, left < right);
    }
    return select(q, k + select(0u, 1u, above > 0 || (above == 0 && (k & 1u) == 1u)), q == UNSURE);
}

// the integers below four magnitudes, where they are close to a tie
fn floors(v: vec4<f32>, g: Grid) -> vec4<u32> {
    if PLANES == 2u {
        let magnitude = magnitudes(v);
        let d = vec4(g.top >> 23u) - (magnitude >> vec4(23u));
        return select(units_of(magnitude, g.inverse) >> (vec4(15u) + min(d, vec4(15u))), vec4(0u), d > vec4(15u));
    }
    return vec4<u32>(abs(v) * g.factor);
}

fn settled_four(q: vec4<u32>, v: vec4<f32>, g: Grid) -> vec4<u32> {
    let k = floors(v, g);
    let m = magnitudes(v);
    return vec4(
        settled(q.x, k.x, m.x, g.top),
        settled(q.y, k.y, m.y, g.top),
        settled(q.z, k.z, m.z, g.top),
        settled(q.w, k.w, m.w, g.top),
    );
}

// values so large that floats promise nothing
fn quotients(v: vec4<f32>, top: u32) -> vec4<u32> {
    let m = magnitudes(v);
    return vec4(quotient(m.x, top, 127u), quotient(m.y, top, 127u), quotient(m.z, top, 127u), quotient(m.w, top, 127u));
}

// the integers of eight values
fn rounded_eight(v: Eight, g: Grid) -> array<vec4<i32>, 2> {
    var qa = quick(v.a, g);
    var qb = quick(v.b, g);
    if PLANES == 1u && g.sure < 0.0 {
        qa = quotients(v.a, g.top);
        qb = quotients(v.b, g.top);
    } else if any(max(qa, qb) == vec4(UNSURE)) {
        qa = settled_four(qa, v.a, g);
        qb = settled_four(qb, v.b, g);
    }
    let low = vec4<i32>(qa);
    let high = vec4<i32>(qb);
    return array(
        select(low, -low, (bitcast<vec4<u32>>(v.a) >> vec4(31u)) == vec4(1u)),
        select(high, -high, (bitcast<vec4<u32>>(v.b) >> vec4(31u)) == vec4(1u)),
    );
}

// four bytes of each plane of a part (0 real, 1 imaginary)
fn put_four(part: u32, word: u32, v: vec4<i32>) {
    let low = vec4<u32>(v) & vec4(255u);
    let bytes = low.x | (low.y << 8u) | (low.z << 16u) | (low.w << 24u);
    if PLANES == 2u {
        let high = (vec4<u32>(v) >> vec4(8u)) & vec4(255u);
        put(2u * part, word, high.x | (high.y << 8u) | (high.z << 16u) | (high.w << 24u));
        put(2u * part + 1u, word, bytes);
    } else {
        put(part, word, bytes);
    }
}

// sums of squares of the magnitudes' halves of 11 bits: high high, high low, low low
fn squares(v: vec4<f32>, twice: f32) -> vec3<u32> {
    let m = (vec4<u32>(abs(v) * twice) + vec4(1u)) >> vec4(1u);
    let h = m >> vec4(11u);
    let l = m & vec4(2047u);
    return vec3(
        h.x * h.x + h.y * h.y + h.z * h.z + h.w * h.w,
        h.x * l.x + h.y * l.y + h.z * l.z + h.w * l.w,
        l.x * l.x + l.y * l.y + l.z * l.z + l.w * l.w,
    );
}

fn wide_of_squares(s: vec3<u32>) -> vec2<u32> {
    let high = wide_shl(vec2(s.x, 0u), 22u);
    return wide_add(wide_add(high, wide_shl(vec2(s.y, 0u), 12u)), vec2(s.z, 0u));
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
    var sums = vec3(0u);
    for (var k = index; k < plane_words(); k += WIDTH) {
        var v = t.x0;
        if normed() {
            sums += squares(v.a, twice) + squares(v.b, twice);
            v = Eight(v.a * t.w0.a, v.b * t.w0.b);
        }
        let q = rounded_eight(v, grid);
        put_four(0u, k, q[0]);
        put_four(1u, k, q[1]);
        t = advance(t, token, k);
    }
    if normed() {
        leave_sum(index, wide_of_squares(sums));
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
