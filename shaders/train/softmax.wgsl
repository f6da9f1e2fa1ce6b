// Computes: x[i, j] = exp(scale * x[i, j] - l_i) for j <= i with l_i = log sum_j exp(scale * x[i, j]); 0 for j > i
// Inputs: scores
// Work split: one workgroup owns one row
// Shapes: x [batch, rows, stride] f32, of which `rows` columns count; in place

struct Params {
    tokens: u32,
    stride: u32, // from row to row
    scale: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;

const WIDTH = 256u;
const LOWEST = -3.4e38;

@compute @workgroup_size(WIDTH)
fn softmax(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.tokens {
        return;
    }
    let base = (wg.z * p.tokens + row) * p.stride;
    var top = LOWEST;
    for (var j = lane; j <= row; j += WIDTH) {
        top = max(top, x[base + j]);
    }
    top = reduce_max(lane, top);
    var total = 0.0;
    for (var j = lane; j <= row; j += WIDTH) {
        total += exp(p.scale * (x[base + j] - top));
    }
    total = reduce_sum(lane, total);
    for (var j = lane; j < p.tokens; j += WIDTH) {
        x[base + j] = select(0.0, exp(p.scale * (x[base + j] - top)) / total, j <= row);
    }
}
