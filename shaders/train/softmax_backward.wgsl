// Computes: d_x[i, j] = scale * y[i, j] * (d_y[i, j] - sum_l y[i, l] * d_y[i, l]) for j <= i; 0 for j > i
// Inputs: the probabilities y and their gradient d_y
// Work split: one workgroup owns one row
// Shapes: y [batch, rows, stride] f32; d_y the same, which becomes d_x in place

struct Params {
    tokens: u32,
    stride: u32, // from row to row
    scale: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_y: array<f32>;

const WIDTH = 256u;

@compute @workgroup_size(WIDTH)
fn softmax_backward(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.tokens {
        return;
    }
    let base = (wg.z * p.tokens + row) * p.stride;
    var sum = 0.0;
    for (var j = lane; j <= row; j += WIDTH) {
        sum += y[base + j] * d_y[base + j];
    }
    let mean = reduce_sum(lane, sum);
    for (var j = lane; j < p.tokens; j += WIDTH) {
        let at = base + j;
        d_y[at] = select(0.0, p.scale * y[at] * (d_y[at] - mean), j <= row);
    }
}
