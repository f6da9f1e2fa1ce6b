// An invocation's share of a token and of the norm's weights, for round_vector.wgsl: read once, and found in registers by
// both passes, the search for the largest magnitude and the rounding.
// Requires: normed, p, plane_words, weight, x, CONJ, WIDTH
// Provides: Eight, Token, round_steps, round_load_token, round_advance, round_token_absmax

// Values k of the real and of the imaginary half.
struct Eight {
    a: vec4<f32>,
    b: vec4<f32>,
}

// The first three Eights of an invocation, WIDTH apart, of the token (x) and of the norm's weights (w).
struct Token {
    x0: Eight,
    x1: Eight,
    x2: Eight,
    w0: Eight,
    w1: Eight,
    w2: Eight,
}

// How many Eights an invocation has.
fn round_steps() -> u32 {
    return (plane_words() + WIDTH - 1u) / WIDTH;
}

// Values k of a token; zero beyond its end.
fn round_load_values(token: u32, k: u32) -> Eight {
    if k < p.quarter {
        let base = token * 2u * p.quarter;
        return Eight(x[base + k], x[base + p.quarter + k]);
    }
    return Eight(vec4(0.0), vec4(0.0));
}

// Weights k of the norm; zero beyond their end and where there is no norm.
fn round_load_weights(k: u32) -> Eight {
    if normed() && k < p.quarter {
        return Eight(weight[k], weight[p.quarter + k]);
    }
    return Eight(vec4(0.0), vec4(0.0));
}

fn round_load_token(index: u32, token: u32) -> Token {
    var t: Token;
    t.x0 = round_load_values(token, index);
    t.w0 = round_load_weights(index);
    if round_steps() > 1u {
        t.x1 = round_load_values(token, index + WIDTH);
        t.w1 = round_load_weights(index + WIDTH);
    }
    if round_steps() > 2u {
        t.x2 = round_load_values(token, index + 2u * WIDTH);
        t.w2 = round_load_weights(index + 2u * WIDTH);
    }
    return t;
}

// Moves the share on by one Eight, k being the one it began with. What registers did not hold is loaded here.
fn round_advance(own: Token, token: u32, k: u32) -> Token {
    var t = Token(own.x1, own.x2, own.x2, own.w1, own.w2, own.w2);
    if round_steps() > 3u {
        t.x2 = round_load_values(token, k + 3u * WIDTH);
        t.w2 = round_load_weights(k + 3u * WIDTH);
    }
    return t;
}

// Bits of |v|.
fn round_magnitudes(v: vec4<f32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(v) & vec4(0x7fffffffu);
}

// Bits of the largest of four magnitudes.
fn round_largest(v: vec4<f32>) -> u32 {
    let b = round_magnitudes(v);
    return max(max(b.x, b.y), max(b.z, b.w));
}

// Where halves share a scale, the largest value is that of both.
fn round_tops(plain: u32, re: u32, im: u32) -> vec3<u32> {
    if CONJ == 1u {
        return vec3(plain, re, im);
    }
    return vec3(plain, max(re, im), 0u);
}

// Bits of the largest |x| (0 without a norm), and of the largest |x w| of eight values: with CONJ of the real ones and of the
// imaginary ones, else of all of them, and 0.
fn round_absmax(x: Eight, w: Eight) -> vec3<u32> {
    let re = round_largest(x.a);
    let im = round_largest(x.b);
    if normed() {
        return round_tops(max(re, im), round_largest(x.a * w.a), round_largest(x.b * w.b));
    }
    return round_tops(0u, re, im);
}

// The same over an invocation's share.
fn round_token_absmax(index: u32, token: u32, t: Token) -> vec3<u32> {
    var absmax = round_absmax(t.x0, t.w0);
    if round_steps() > 1u {
        absmax = max(absmax, round_absmax(t.x1, t.w1));
    }
    if round_steps() > 2u {
        absmax = max(absmax, round_absmax(t.x2, t.w2));
    }
    for (var k = index + 3u * WIDTH; round_steps() > 3u && k < p.quarter; k += WIDTH) {
        absmax = max(absmax, round_absmax(round_load_values(token, k), round_load_weights(k)));
    }
    return absmax;
}
