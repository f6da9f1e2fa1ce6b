// Computes: y += factor * x
// Inputs: x, and y itself
// Work split: one invocation owns one element
// Shapes: x [n], y [n] f32

struct Params {
    n: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const WIDTH = 256u;

@compute @workgroup_size(WIDTH)
fn axpy(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if i < p.n {
        y[i] += p.factor * x[i];
    }
}
