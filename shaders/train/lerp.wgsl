// Computes: y = x + share * (y - x): x itself for 0
// Inputs: x, and y itself
// Work split: one invocation owns one element
// Shapes: x [n] f32; y [n] f32, in place

struct Params {
    n: u32,
    share: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const WIDTH = 256u;

@compute @workgroup_size(WIDTH)
fn lerp(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if i < p.n {
        y[i] = x[i] + p.share * (y[i] - x[i]);
    }
}
