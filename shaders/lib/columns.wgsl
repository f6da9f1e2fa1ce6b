// Four neighbouring complex columns of a row of a shard at once, one in each component of a vec4.
// Requires: widely_flush, MATRICES, Params, Sectors
// Provides: p, Four, columns_scales, columns_split, columns_step

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> scales: array<vec2<f32>>;

// Real blocks (R11, R12, R21, R22), or twice (Re U, Im U, Re W, Im W): the halving is left out, because it would be exact.
// In the conjugate form (Re W, Im W, 0, 0), or twice that.
struct Four {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

// Complex numbers.
struct Pairs {
    re: vec4<f32>,
    im: vec4<f32>,
}

// The index of the first scales of a group: those of the stages of U, if there is one, then of W.
fn columns_scales(row: u32, group: u32) -> u32 {
    let scale_block = (p.first_row + row) / p.block_rows;
    return (scale_block * p.groups + group) * MATRICES * p.stages;
}

fn columns_bits(x: vec4<f32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(x);
}

// Twice (U, W) of real blocks, with the bits of widely_split_blocks; twice W where it is stored.
fn columns_split(v: Four) -> Four {
    if MATRICES == 1u {
        return Four(2.0 * widely_flush(v.a), 2.0 * widely_flush(v.b), vec4(0.0), vec4(0.0));
    }
    let bits = columns_bits(v.a) & columns_bits(v.b) & columns_bits(v.c) & columns_bits(v.d);
    if (bits.x & bits.y & bits.z & bits.w & 0x20000000u) != 0u {
        // all magnitudes are in [2^-63, 2) or from 2^65 on: nothing is subnormal, and no sum can be
        return Four(v.a + v.d, v.c - v.b, v.a - v.d, v.c + v.b);
    }
    let a = widely_flush(v.a);
    let b = widely_flush(v.b);
    let c = widely_flush(v.c);
    let d = widely_flush(v.d);
    return Four(columns_split_sum(a, d), columns_split_sum(c, -b), columns_split_sum(a, -d), columns_split_sum(c, b));
}

fn columns_split_sum(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    return 2.0 * widely_flush(0.5 * (x + y));
}

// What codes k with scales s leave of z; s is twice the scales, as z is twice the weight.
fn columns_residual(z: Pairs, k: Sectors, s: vec2<f32>) -> Pairs {
    let odd = k.low != k.high;
    let re = select(columns_with_sign(s.x, z.re), vec4(0.0), odd);
    let im = select(vec4(0.0), columns_with_sign(s.y, z.im), odd);
    return Pairs(z.re - re, z.im - im);
}

// s, which is positive, with the signs of x: in its sector, a number has the sign of its code.
fn columns_with_sign(s: f32, x: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4(bitcast<u32>(s)) | (columns_bits(x) & vec4(0x80000000u)));
}

// What a stage leaves of U and W; its scales lie at `first`, those of W p.stages behind. Where there is no U, `u` are W's.
fn columns_step(z: Four, u: Sectors, w: Sectors, first: u32) -> Four {
    let next_u = columns_residual(Pairs(z.a, z.b), u, 2.0 * scales[first]);
    if MATRICES == 1u {
        return Four(next_u.re, next_u.im, z.c, z.d);
    }
    let next_w = columns_residual(Pairs(z.c, z.d), w, 2.0 * scales[first + p.stages]);
    return Four(next_u.re, next_u.im, next_w.re, next_w.im);
}
