// Computes: y = bias, or y += bias, for every token
// Inputs: bias, and y itself where it is added to
// Work split: one invocation owns one element
// Shapes: bias [n] f32; y [tokens, stride] f32

struct Params {
    tokens: u32,
    n: u32,
    stride: u32, // values of a token of y
    first: u32,  // the first of its columns that belong to the bias
    accumulate: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const WIDTH = 256u;

@compute @workgroup_size(WIDTH)
fn bias(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if i >= p.tokens * p.n {
        return;
    }
    let value = values[i % p.n];
    let dst = i / p.n * p.stride + p.first + i % p.n;
    if p.accumulate == 1u {
        y[dst] += value;
    } else {
        y[dst] = value;
    }
}
