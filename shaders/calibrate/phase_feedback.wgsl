// Computes: codes of a block of complex columns, from the last to the first, each for what the errors behind it left over
// Inputs: weight R in the order of the factor; factor L of H = L * L^T; pending = sum of E_i * L_ic over columns i behind the
//         block
// Work split: one invocation owns one complex row; a workgroup shares the block of the factor
// Shapes: weight, errors [rows, 2, columns]; factor [columns, columns]; pending [rows, 2, 32]; order [columns / 2];
//         scales [cells, groups, 2, stages] of (re, im); codes [rows, 2, stages, words]

override STAGES: u32 = 4u;

struct Params {
    rows: u32,
    pairs: u32,
    group: u32,
    groups: u32,
    block_rows: u32, // that share scales
    first: u32, // pair of the block
    count: u32, // pairs of the block
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> factor: array<f32>;
@group(0) @binding(3) var<storage, read> pending: array<f32>;
@group(0) @binding(4) var<storage, read> scales: array<f32>;
@group(0) @binding(5) var<storage, read> order: array<u32>;
@group(0) @binding(6) var<storage, read_write> codes: array<u32>;
@group(0) @binding(7) var<storage, read_write> errors: array<f32>;

const WIDTH = 32u;
const SPAN = 32u; // real columns of a block

var<workgroup> l: array<f32, SPAN * SPAN>;
// of every row the errors of the block's pairs: both columns of the upper row, then of the lower one
var<workgroup> e: array<vec4<f32>, WIDTH * SPAN / 2u>;

// a row times the block (i, c) of the factor, for both rows
fn times(v: vec4<f32>, i: u32, c: u32) -> vec4<f32> {
    let at = 2u * i * SPAN + 2u * c;
    let upper = vec2(l[at], l[at + 1u]);
    let lower = vec2(l[at + SPAN], l[at + SPAN + 1u]);
    return vec4(v.x * upper + v.y * lower, v.z * upper + v.w * lower);
}

// the target shifted by what is pending times the inverse of L_cc = [[a, 0], [b, d]]
fn shifted(t: vec4<f32>, sum: vec4<f32>, f: vec3<f32>) -> vec4<f32> {
    let y = sum.yw / f.z;
    let x = (sum.xz - y * f.y) / f.x;
    return t + vec4(x.x, y.x, x.y, y.y);
}

// codes of U and W with the least (t - v) D (t - v)^T over both rows, D = L_cc L_cc^T: src/ops/calibrate/feedback.rs
fn choose(t: vec4<f32>, f: vec3<f32>) -> vec2<u32> {
    let d = vec3(f.x * f.x, f.x * f.y, f.y * f.y + f.z * f.z);
    let k = vec2(d.x - d.z, 2.0 * d.y) / (d.x + d.z);
    let slack = 1.0 - dot(k, k);
    let u0 = 0.5 * vec2(t.x + t.w, t.z - t.y);
    let w0 = 0.5 * vec2(t.x - t.w, t.z + t.y);
    var best = 3.0e38;
    var found = vec2<u32>();
    for (var index = 0u; index < (1u << (2u * STAGES)); index++) {
        let code = phase_code_of(index);
        let rest = u0 - phase_sum(code, 0u);
        let own = slack * dot(rest, rest);
        if own < best {
            let z = w0 + vec2(k.x * rest.x - k.y * rest.y, k.x * rest.y + k.y * rest.x);
            let w = phase_nearest_sum(z, STAGES);
            if own + w.distance < best {
                best = own + w.distance;
                found = vec2(code, w.code);
            }
        }
    }
    return found;
}

fn put_codes(row: u32, column: u32, found: vec2<u32>) {
    let words = (p.pairs + 15u) / 16u;
    let shift = phase_shift(column);
    for (var plane = 0u; plane < 2u * STAGES; plane++) {
        let code = select(found.x >> (2u * plane), found.y >> (2u * (plane - STAGES)), plane >= STAGES);
        let at = (row * 2u * STAGES + plane) * words + column / 16u;
        codes[at] = (codes[at] & ~(3u << shift)) | (phase_symbol(code & 3u) << shift);
    }
}

@compute @workgroup_size(WIDTH)
fn phase_feedback(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let columns = 2u * p.pairs;
    let span = 2u * p.count;
    for (var i = lane; i < span * span; i += WIDTH) {
        let at = vec2(i / span, i % span);
        l[at.x * SPAN + at.y] = factor[(2u * p.first + at.x) * columns + 2u * p.first + at.y];
    }
    workgroupBarrier();
    let row = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if row >= p.rows {
        return;
    }
    for (var turn = 0u; turn < p.count; turn++) {
        let c = p.count - 1u - turn;
        let waiting = 2u * row * SPAN + 2u * c;
        var sum = vec4(pending[waiting], pending[waiting + 1u], pending[waiting + SPAN], pending[waiting + SPAN + 1u]);
        for (var i = c + 1u; i < p.count; i++) {
            sum += times(e[lane * SPAN / 2u + i], i, c);
        }
        let pair = p.first + c;
        let at = 2u * row * columns + 2u * pair;
        let t = vec4(weight[at], weight[at + 1u], weight[at + columns], weight[at + columns + 1u]);
        let f = vec3(l[2u * c * (SPAN + 1u)], l[2u * c * (SPAN + 1u) + SPAN], l[(2u * c + 1u) * (SPAN + 1u)]);
        let column = order[pair];
        let scale_block = row / p.block_rows;
        phase_load_scales((scale_block * p.groups + column / p.group) * 4u * STAGES);
        let found = choose(shifted(t, sum, f), f);
        let u = phase_sum(found.x, 0u);
        let w = phase_sum(found.y, STAGES);
        let error = t - vec4(u.x + w.x, w.y - u.y, w.y + u.y, u.x - w.x);
        e[lane * SPAN / 2u + c] = error;
        errors[at] = error.x;
        errors[at + 1u] = error.y;
        errors[at + columns] = error.z;
        errors[at + columns + 1u] = error.w;
        put_codes(row, column, found);
    }
}
