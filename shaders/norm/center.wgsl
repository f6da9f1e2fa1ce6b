// Computes: y = x - mean(x), or y += x - mean(x), per row
// Inputs: x, and y itself where it is added to
// Work split: one workgroup owns one row
// Shapes: x, y [rows, n] f32

struct Params {
    tokens: u32,
    n: u32,
    accumulate: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const WIDTH = 256u;

@compute @workgroup_size(WIDTH)
fn center(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.tokens {
        return;
    }
    let base = row * p.n;
    var sum = 0.0;
    for (var i = lane; i < p.n; i += WIDTH) {
        sum += x[base + i];
    }
    let mean = reduce_sum(lane, sum) / f32(p.n);
    for (var i = lane; i < p.n; i += WIDTH) {
        let value = x[base + i] - mean;
        if p.accumulate == 1u {
            y[base + i] += value;
        } else {
            y[base + i] = value;
        }
    }
}
