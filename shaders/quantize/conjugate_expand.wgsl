// Computes: R = (Re W, Im W; Im W, -Re W), rows in runs of real parts and of imaginary parts
// Inputs: W; bits are copied and signs are bits, so that f32 is exact on every device, subnormals included
// Work split: one invocation owns two neighbouring columns of R, in the real and in the imaginary row of one complex row
// Shapes: w [2 (re, im), n, m] f32; r [2 n, 2 m] f32 or f16

struct Params {
    rows: u32,    // n
    columns: u32, // m
    run: u32,     // complex rows whose real parts lie together
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read_write> r: array<u32>;

override ELEM: u32 = 0u; // of r: 0 f32, 1 f16

const WIDTH = 256u;
const SIGN = 0x80000000u;

// What column c of R has in the real and in the imaginary row of complex row `row`.
fn column(row: u32, c: u32) -> vec2<u32> {
    let right = c >= p.columns;
    let re = row * p.columns + c - select(0u, p.columns, right);
    let im = re + p.rows * p.columns;
    let v = vec2(w[re], w[im]);
    return select(v, vec2(v.y, v.x ^ SIGN), right);
}

fn put(pair: u32, v: vec2<u32>) {
    if ELEM == 1u {
        r[pair] = pack2x16float(bitcast<vec2<f32>>(v));
    } else {
        r[2u * pair] = v.x;
        r[2u * pair + 1u] = v.y;
    }
}

@compute @workgroup_size(WIDTH)
fn conjugate_expand(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // R has 2 m columns, thus m pairs
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if i >= p.rows * p.columns {
        return;
    }
    let row = i / p.columns;
    let pair = i % p.columns;
    let even = column(row, 2u * pair);
    let odd = column(row, 2u * pair + 1u);
    let real = row / p.run * 2u * p.run + row % p.run;
    put(real * p.columns + pair, vec2(even.x, odd.x));
    put((real + p.run) * p.columns + pair, vec2(even.y, odd.y));
}
