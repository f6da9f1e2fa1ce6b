// One token's activations, normalized if asked for, rounded to integers by a workgroup; exact in every step.
// The kernel declares p (.quarter: vec4s in half a row, .plane_words, .eps_n, .root_n), x, weight,
// WIDTH, PLANES, normed() and put(plane, word, bytes); needs round.wgsl, a bits*.wgsl, a wide*.wgsl and a team_*.wgsl.
//
// Normalizing is exact because the norm only scales: the integers of x w / rms(x) are those of x w, and the factor
// is made of the exact sum of squares of 22-bit magnitudes (src/ops/activation/norm.rs).

const FAINT = 0x0d800000u; // bits of 2^-100: below, a vector counts as zero

// what is known of a token as soon as its integers are
struct Rounding {
    largest: u32, // bits of the largest |x|
    top: u32,     // of the largest |x w|, which becomes the last integer
}

struct Rounded {
    total: vec2<i32>, // sum of the real and of the imaginary integers
    factor: u32,      // bits of the f32 that one integer step is worth, times levels
}

fn bits_of(v: vec4<f32>) -> u32 {
    let b = bitcast<vec4<u32>>(v) & vec4(0x7fffffffu);
    return max(max(b.x, b.y), max(b.z, b.w));
}

// 2^40 levels / mantissa of top, within a few units: what `quick_quotient` multiplies with
fn reciprocal(top: u32, levels: u32) -> u32 {
    let mt = (top & 0x7fffffu) | 0x800000u;
    let guess = u32(f32(levels) / f32(mt) * 1099511627776.0);
    // what the guess leaves of the dividend, below 2^36 either way
    let rest = wide_add(vec2(0u, levels << 8u), wide_neg(wide_mul(guess, mt)));
    let left = f32(bitcast<i32>(rest.y)) * 4294967296.0 + f32(rest.x);
    return u32(i32(guess) + i32(left / f32(mt)));
}

const UNSURE = 0xffffffffu;

// `quotient` of four, faster: the upper half of one product decides; UNSURE where that comes close to a tie
fn quick_quotients(magnitude: vec4<u32>, top: u32, inverse: u32) -> vec4<u32> {
    let d = vec4(top >> 23u) - (magnitude >> vec4(23u));
    let m = (magnitude << vec4(8u)) | vec4(0x80000000u);
    // |x| levels / top in units of 2^-(15 + d), off by less than 5; half of what 32 bits hold, as a quotient of almost
    // 2^(16 - d) is rounded up
    let units = vec4(
        wide_mul(m.x, inverse).y,
        wide_mul(m.y, inverse).y,
        wide_mul(m.z, inverse).y,
        wide_mul(m.w, inverse).y,
    ) >> vec4(1u);
    let shift = vec4(15u) + min(d, vec4(15u));
    let shifted = units + (vec4(1u) << (shift - vec4(1u)));
    let near = ((shifted + vec4(5u)) & ((vec4(1u) << shift) - vec4(1u))) < vec4(10u);
    // 2^-15 of the top is nothing at 8 bits, 2^-17 at 16
    let small = select(vec4(UNSURE), vec4(0u), d > vec4(select(17u, 15u, PLANES == 1u)));
    return select(select(shifted >> shift, vec4(UNSURE), near), small, d > vec4(15u));
}

// the integers of eight values; the few too close to a tie are settled one by one, in one place: code that is there
// many times is fetched many times
fn rounded_eight(a: vec4<f32>, b: vec4<f32>, top: u32, inverse: u32) -> array<vec4<i32>, 2> {
    let levels = select(127u, 32767u, PLANES == 2u);
    let bits = array(bitcast<vec4<u32>>(a), bitcast<vec4<u32>>(b));
    var q = array(
        quick_quotients(bits[0] & vec4(0x7fffffffu), top, inverse),
        quick_quotients(bits[1] & vec4(0x7fffffffu), top, inverse),
    );
    if any(max(q[0], q[1]) == vec4(UNSURE)) {
        for (var i = 0u; i < 8u; i++) {
            if q[i / 4u][i % 4u] == UNSURE {
                q[i / 4u][i % 4u] = quotient(bits[i / 4u][i % 4u] & 0x7fffffffu, top, levels);
            }
        }
    }
    let low = vec4<i32>(q[0]);
    let high = vec4<i32>(q[1]);
    return array(
        select(low, -low, (bits[0] >> vec4(31u)) == vec4(1u)),
        select(high, -high, (bits[1] >> vec4(31u)) == vec4(1u)),
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
    var r = min(u32(inverseSqrt(f32(m) / 8388608.0) * 1048576.0) + 4u, 1048576u);
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

// puts the token's integers; `rounded` may follow after a barrier
fn round_vector(index: u32, token: u32) -> Rounding {
    let base = token * 2u * p.quarter;
    var tops = vec2(0u); // of x, of x w
    for (var k = index; k < p.quarter; k += WIDTH) {
        let a = x[base + k];
        let b = x[base + p.quarter + k];
        if normed() {
            let v = max(bits_of(a * weight[k]), bits_of(b * weight[p.quarter + k]));
            tops = max(tops, vec2(max(bits_of(a), bits_of(b)), v));
        } else {
            tops.y = max(tops.y, max(bits_of(a), bits_of(b)));
        }
    }
    tops = group_max(index, tops);
    let r = Rounding(tops.x, max(tops.y, select(LEAST, FAINT, normed())));
    let twice = bitcast<f32>((276u - max(tops.x, FAINT) / 0x800000u) << 23u); // 2^(23 - e) of what is not faint
    let inverse = reciprocal(r.top, select(127u, 32767u, PLANES == 2u));
    var total = vec2(0i);
    var sums = vec3(0u);
    for (var k = index; k < p.plane_words; k += WIDTH) {
        var a = vec4(0.0);
        var b = vec4(0.0);
        if k < p.quarter {
            a = x[base + k];
            b = x[base + p.quarter + k];
            if normed() {
                sums += squares(a, twice) + squares(b, twice);
                a *= weight[k];
                b *= weight[p.quarter + k];
            }
        }
        let q = rounded_eight(a, b, r.top, inverse);
        let re = q[0].xy + q[0].zw;
        let im = q[1].xy + q[1].zw;
        total += vec2(re.x + re.y, im.x + im.y);
        put_four(0u, k, q[0]);
        put_four(1u, k, q[1]);
    }
    leave_sums(index, total, wide_of_squares(sums));
    return r;
}

// `index` within a whole team, or the workgroup where sums need all of it (team_shared.wgsl)
fn rounded(index: u32, r: Rounding) -> Rounded {
    let sum = left_sums(index);
    var factor = bitcast<f32>(r.top);
    if normed() {
        let faint = r.largest < FAINT;
        factor *= inverse_rms(select(sum.zw, vec2(0u), faint), i32(r.largest >> 23u) - 126);
    }
    return Rounded(vec2<i32>(sum.xy), bitcast<u32>(factor));
}
