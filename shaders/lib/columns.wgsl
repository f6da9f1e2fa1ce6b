// Four neighbouring complex columns of a row of a piece at once, one in each component. Features piece.wgsl, phase.wgsl,
// widely.wgsl, and columns_four.wgsl or columns_any.wgsl.

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> scales: array<vec2<f32>>;

// real blocks (R11, R12, R21, R22), or twice (Re U, Im U, Re W, Im W): the halving would be exact, so it need not be done
struct Four {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

// complex numbers
struct Pairs {
    re: vec4<f32>,
    im: vec4<f32>,
}

// place of the first scales of a group: of the stages of U, then of W
fn scales_of(row: u32, group: u32) -> u32 {
    let cell = select(0u, p.first_row + row, p.by_row == 1u);
    return (cell * p.groups + group) * 2u * p.stages;
}

fn bits_of(x: vec4<f32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(x);
}

// twice (U, W) of real blocks, as widely_split_blocks
fn split_four(v: Four) -> Four {
    let bits = bits_of(v.a) & bits_of(v.b) & bits_of(v.c) & bits_of(v.d);
    if (bits.x & bits.y & bits.z & bits.w & 0x20000000u) != 0u {
        // all magnitudes are in [2^-63, 2) or from 2^65 on: nothing is subnormal, and no sum can be
        return Four(v.a + v.d, v.c - v.b, v.a - v.d, v.c + v.b);
    }
    let a = widely_flush(v.a);
    let b = widely_flush(v.b);
    let c = widely_flush(v.c);
    let d = widely_flush(v.d);
    return Four(split_sum(a, d), split_sum(c, -b), split_sum(a, -d), split_sum(c, b));
}

fn split_sum(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    return 2.0 * widely_flush(0.5 * (x + y));
}

// The residual behind codes k; s is twice the scales.
fn residual(z: Pairs, k: Sectors, s: vec2<f32>) -> Pairs {
    let odd = k.low != k.high;
    let re = select(with_sign(s.x, z.re), vec4(0.0), odd);
    let im = select(vec4(0.0), with_sign(s.y, z.im), odd);
    return Pairs(z.re - re, z.im - im);
}

// s, which is positive, with the signs of x: in its sector that of the code
fn with_sign(s: f32, x: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4(bitcast<u32>(s)) | (bits_of(x) & vec4(0x80000000u)));
}

// the residual of U and W behind a stage, whose scales are `first` and, for W, p.stages later
fn step_four(z: Four, u: Sectors, w: Sectors, first: u32) -> Four {
    let next_u = residual(Pairs(z.a, z.b), u, 2.0 * scales[first]);
    let next_w = residual(Pairs(z.c, z.d), w, 2.0 * scales[first + p.stages]);
    return Four(next_u.re, next_u.im, next_w.re, next_w.im);
}
