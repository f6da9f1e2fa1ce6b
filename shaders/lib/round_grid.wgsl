// Integers nearest to values times levels / absmax, halves to even, with the same bits everywhere: floats decide where
// their error cannot matter, integer arithmetic decides close to a tie. docs/notes/round_vector.md derives the bounds.
// Requires: round_nearest, round_opaque, wide_add, wide_cmp, wide_mul, wide_neg, wide_shl, BYTES, CONJ, Eight
// Provides: round_grid, round_eight

// What makes integers of values.
struct Grid {
    top: u32,    // bits of the largest magnitude
    sure: f32,   // distance to an integer up to which floats are right
    factor: f32, // with one byte plane: 127 / top
    lift: f32,   // with two byte planes: round_lift of top
    high: f32,   // the first 12 bits of 32767 / lifted top
    low: f32,    // and what they leave
    none: u32,   // 0, which no compiler can know
}

// Integers nearest to four quotients, and a bound of how far the quotients are from them.
struct Near {
    n: vec4<i32>,
    off: vec4<f32>,
}

// The error of a quotient with two byte planes is at most 5 units of 2^-31 of it and little more; this is 2^-27.
const NEAR = 7.450581e-9;

// 2^40 * 32767 / mantissa of top, within 5 units of 32 bits
fn round_reciprocal(top: u32) -> u32 {
    let mt = (top & 0x7fffffu) | 0x800000u;
    let guess = u32(32767.0 / f32(mt) * 1099511627776.0);
    // what the guess leaves of the dividend, below 2^36 either way
    let rest = wide_add(vec2(0u, 32767u << 8u), wide_neg(wide_mul(guess, mt)));
    let left = f32(bitcast<i32>(rest.y)) * 4294967296.0 + f32(rest.x);
    return u32(i32(guess) + i32(left / f32(mt)));
}

// A power of two that brings top to where quotients are normal floats.
fn round_lift(top: u32) -> f32 {
    return select(select(1.0, 18446744073709551616.0, top < 0x1f800000u), 5.421010862427522e-20, top >= 0x5f800000u);
}

fn round_grid(top: u32) -> Grid {
    if BYTES == 1u {
        // 127 / top and its product with a value are within 4 units of f32 at 127, which is below 2^-14. Division promises
        // that for divisors below 2^126; above, integers decide always.
        let sure = select(0.49993896, -1.0, top >= 0x7e800000u);
        return Grid(top, sure, 127.0 / bitcast<f32>(top), 1.0, 0.0, 0.0, 0u);
    }
    let lift = round_lift(top);
    let inverse = round_reciprocal(top);
    let exponent = bitcast<u32>(bitcast<f32>(top) * lift) >> 23u;
    let scale = bitcast<f32>((269u - exponent) << 23u) * 2.3283064365386963e-10;
    let high = f32(inverse & 0xfff00000u) * scale;
    let low = f32(inverse & 0x000fffffu) * scale;
    // the part of the error that NEAR does not cover is below 2^-22
    return Grid(top, 0.49999976, 0.0, lift, high, low, top >> 31u);
}

fn round_near(value: vec4<f32>, g: Grid) -> Near {
    if BYTES == 1u {
        let quotient = value * g.factor;
        let n = round_nearest(quotient);
        return Near(n, abs(quotient - vec4<f32>(n)));
    }
    // The product of the first 12 bits of both is exact. What is left is small, and so is its error.
    let v = value * g.lift;
    let first = bitcast<vec4<f32>>(bitcast<vec4<u32>>(v) & vec4(0xfffff000u));
    let whole = first * g.high;
    let rest = v * g.low + (v - first) * g.high;
    let n = round_nearest(whole + rest);
    let left = round_opaque(whole - vec4<f32>(n), g.none);
    return Near(n, abs(left + rest) + abs(whole) * NEAR);
}

// Returns n where floats are sure of it. Elsewhere the quotient lies between k and k + 1, and a comparison of integers
// finds which one is nearer.
fn round_settled(n: i32, sure: bool, value: f32, top: u32) -> i32 {
    let lift = round_lift(top);
    let levels = select(127u, 32767u, BYTES == 2u);
    let k = u32(abs(value * lift) * (f32(levels) / (bitcast<f32>(top) * lift)));
    let magnitude = bitcast<u32>(value) & 0x7fffffffu;
    let d = min((top >> 23u) - (magnitude >> 23u), 31u);
    let mx = (magnitude & 0x7fffffu) | 0x800000u;
    let mt = (top & 0x7fffffu) | 0x800000u;
    let above = wide_cmp(wide_mul(mx, 2u * levels), wide_shl(wide_mul(mt, 2u * k + 1u), d));
    let q = i32(k + select(0u, 1u, above > 0 || (above == 0 && (k & 1u) == 1u)));
    return select(select(q, -q, value < 0.0), n, sure);
}

fn round_settled_four(near: Near, v: vec4<f32>, g: Grid) -> vec4<i32> {
    let sure = near.off <= vec4(g.sure);
    return vec4(
        round_settled(near.n.x, sure.x, v.x, g.top),
        round_settled(near.n.y, sure.y, v.y, g.top),
        round_settled(near.n.z, sure.z, v.z, g.top),
        round_settled(near.n.w, sure.w, v.w, g.top),
    );
}

// The integers of eight values, real ones (grid g) and imaginary ones (grid h, which is g unless CONJ).
fn round_eight(v: Eight, g: Grid, h: Grid) -> array<vec4<i32>, 2> {
    let a = round_near(v.a, g);
    let b = round_near(v.b, h);
    var sure = g.sure;
    if CONJ == 1u {
        sure = min(sure, h.sure);
    }
    if all(max(a.off, b.off) <= vec4(sure)) {
        return array(a.n, b.n);
    }
    return array(round_settled_four(a, v.a, g), round_settled_four(b, v.b, h));
}
