// Computes: y[row, out_offset + o] (+)= sum_k x[row, k] * w[o, k]
// Inputs: rows of w are padded with zeros to whole vec4s of words
// Work split: one workgroup owns 64 rows x 64 outputs, one invocation 8 x 8 of them, as four 4 x 4 blocks
// Shapes: x [rows, k] f32; w [outs, stride] vec4s of words; y [rows, y_stride] f32

struct Params {
    tokens: u32,
    k: u32,
    outs: u32,
    stride: u32,     // vec4s from row to row of w
    y_stride: u32,
    out_offset: u32, // of the first output in y
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

override ELEM: u32 = 0u;             // 0 f32, 1 f16, 2 bf16
override ACCUMULATE: bool = false;

const WIDTH = 64u;
const TILE = 64u;
const DEPTH = 16u;          // values of k per step
const QUADS = TILE / 4u;
const PITCH = QUADS + 1u;   // keeps writes along k out of each other's memory banks

// [DEPTH, QUADS]: for each k the rows of the tile, four together
var<workgroup> xs: array<vec4<f32>, DEPTH * PITCH>;
var<workgroup> ws: array<vec4<f32>, DEPTH * PITCH>;

fn x_at(row: u32, k: u32) -> f32 {
    if row < p.tokens && k < p.k {
        return x[row * p.k + k];
    }
    return 0.0;
}

fn load_x(lane: u32, row: u32, k: u32) {
    let depth = lane % DEPTH;
    for (var quad = lane / DEPTH; quad < QUADS; quad += WIDTH / DEPTH) {
        let r = row + 4u * quad;
        let at = k + depth;
        xs[depth * PITCH + quad] = vec4(x_at(r, at), x_at(r + 1u, at), x_at(r + 2u, at), x_at(r + 3u, at));
    }
}

fn w_at(out: u32, i: u32) -> vec4<u32> {
    if out < p.outs && i < p.stride {
        return w[out * p.stride + i];
    }
    return vec4(0u);
}

// four rows of four consecutive k, transposed into four k of four rows
fn put_w(quad: u32, depth: u32, rows: mat4x4<f32>) {
    let transposed = transpose(rows);
    let at = depth * PITCH + quad;
    ws[at] = transposed[0];
    ws[at + PITCH] = transposed[1];
    ws[at + 2u * PITCH] = transposed[2];
    ws[at + 3u * PITCH] = transposed[3];
}

fn load_w(lane: u32, out: u32, k: u32) {
    let each = elem_count();
    let quad = lane % QUADS;
    let depth = lane / QUADS * each;
    if depth < DEPTH {
        let o = out + 4u * quad;
        let i = (k + depth) / each;
        let a = w_at(o, i);
        let b = w_at(o + 1u, i);
        let c = w_at(o + 2u, i);
        let d = w_at(o + 3u, i);
        put_w(quad, depth, mat4x4(elem_low(a), elem_low(b), elem_low(c), elem_low(d)));
        if ELEM != 0u {
            put_w(quad, depth + 4u, mat4x4(elem_high(a), elem_high(b), elem_high(c), elem_high(d)));
        }
    }
}

fn store(row: u32, out: u32, v: vec4<f32>) {
    if row >= p.tokens {
        return;
    }
    let at = row * p.y_stride + p.out_offset + out;
    for (var i = 0u; i < 4u; i++) {
        if out + i < p.outs {
            y[at + i] = select(0.0, y[at + i], ACCUMULATE) + v[i];
        }
    }
}

fn store_block(row: u32, out: u32, block: mat4x4<f32>) {
    store(row, out, block[0]);
    store(row + 1u, out, block[1]);
    store(row + 2u, out, block[2]);
    store(row + 3u, out, block[3]);
}

@compute @workgroup_size(WIDTH)
fn matmul_gemm(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let across = (p.tokens + TILE - 1u) / TILE;
    let group = wg.x + wg.y * nwg.x;
    // neighbours share their rows of w
    let row = group % across * TILE;
    let out = group / across * TILE;
    if out >= p.outs {
        return;
    }
    let r = lane / 8u;
    let o = lane % 8u;
    var sums = array<mat4x4<f32>, 4>();
    for (var k = 0u; k < p.k; k += DEPTH) {
        load_x(lane, row, k);
        load_w(lane, out, k);
        workgroupBarrier();
        for (var i = 0u; i < DEPTH; i++) {
            let at = i * PITCH;
            let x0 = xs[at + r];
            let x1 = xs[at + r + 8u];
            let w0 = ws[at + o];
            let w1 = ws[at + o + 8u];
            sums[0] += outer(x0, w0);
            sums[1] += outer(x0, w1);
            sums[2] += outer(x1, w0);
            sums[3] += outer(x1, w1);
        }
        workgroupBarrier();
    }
    store_block(row + 4u * r, out + 4u * o, sums[0]);
    store_block(row + 4u * r, out + 32u + 4u * o, sums[1]);
    store_block(row + 32u + 4u * r, out + 4u * o, sums[2]);
    store_block(row + 32u + 4u * r, out + 32u + 4u * o, sums[3]);
}
