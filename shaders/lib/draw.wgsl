// Drawing by integers: how far a logit lies below the best one, and what chance that gives it. The twin of
// src/ops/sampling/draw.
// Requires: wide_add, wide_mul, wide_sub
// Provides: DRAW_LAST, DRAW_NEVER, DRAW_BEST, draw_distance, draw_weight, draw_scaled, draw_enough

const DRAW_LAST = 0xf8000000u; // the greatest distance that has a weight
const DRAW_NEVER = 0xffffffffu;
const DRAW_BEST = 0x7f800000u; // infinity, the rate of rows that take the best element
const DRAW_LARGEST = 3.4028234663852886e38;

// (best - logit) * rate in units of 2^-27 octaves of probability, rounded down; for bits of floats. Minus infinity and NaN
// are never drawn, nor is anything where the best one is.
fn draw_distance(best: u32, logit: u32, rate: f32) -> u32 {
    let gap = min(bitcast<f32>(best), DRAW_LARGEST) - min(bitcast<f32>(logit), DRAW_LARGEST);
    let x = gap * rate;
    let far = (bitcast<u32>(x) & 0x7fffffffu) >= 0x4f800000u; // 2^32, or no number
    let never = (logit & 0x7fffffffu) > 0x7f800000u || logit == 0xff800000u || best == 0xff800000u;
    return select(u32(min(abs(x), 4294967040.0)), DRAW_NEVER, far || never);
}

// 2^31 * 2^-distance. The fraction f has 32 bits; 2^-f = 1 - f (c1 - f (c2 - ... f c6)) to 2^-27, and never rises with f.
fn draw_weight(distance: u32) -> u32 {
    let f = distance << 5u;
    var t = 0x539d3bu - wide_mul(f, 0x72a98u).y;
    t = 0x273defdu - wide_mul(f, t).y;
    t = 0xe34b15cu - wide_mul(f, t).y;
    t = 0x3d7f5b48u - wide_mul(f, t).y;
    t = 0xb1721646u - wide_mul(f, t).y;
    return (0x80000000u - (wide_mul(f, t).y >> 1u)) >> (distance >> 27u);
}

// floor(total * part / 2^32)
fn draw_scaled(total: vec2<u32>, part: u32) -> vec2<u32> {
    return wide_add(wide_mul(total.y, part), vec2(wide_mul(total.x, part).y, 0u));
}

// The greatest sum that is less than `part` / 2^32 of the total, or 0: sums above it are enough. All ones ask for
// everything.
fn draw_enough(total: vec2<u32>, part: u32) -> vec2<u32> {
    let scaled = draw_scaled(total, part);
    let whole = wide_mul(total.x, part).x == 0u && any(scaled != vec2(0u));
    let below = select(scaled, wide_sub(scaled, vec2(1u, 0u)), whole);
    return select(below, wide_sub(total, vec2(1u, 0u)), part == 0xffffffffu && any(total != vec2(0u)));
}
