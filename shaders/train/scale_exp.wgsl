// Computes: y = exp(x): scales from their logarithms; 0 behind the first stages
// Inputs: logarithms of scales
// Work split: one invocation owns one value
// Shapes: x, y [n / (2 * stages), stages, 2] f32

struct Params {
    n: u32,
    stages: u32,
    n_active: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const WIDTH = 256u;

@compute @workgroup_size(WIDTH)
fn scale_exp(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if i < p.n {
        y[i] = select(0.0, exp(x[i]), (i / 2u) % p.stages < p.n_active);
    }
}
