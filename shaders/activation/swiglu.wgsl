// Computes: y = silu(gate) * up with silu(v) = v * sigmoid(v), or with GELU in its place (lib/gelu.wgsl)
// Inputs: x holds gate, then up, in each row
// Work split: one invocation owns one element of y
// Shapes: x [rows, 2 * n] f32; y [rows, n] f32

struct Params {
    tokens: u32,
    n: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const WIDTH = 256u;

@compute @workgroup_size(WIDTH)
fn swiglu(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if i >= p.tokens * p.n {
        return;
    }
    let at = i + (i / p.n) * p.n;
    let gate = x[at];
    y[i] = gate * sigmoid(gelu_argument(gate)) * x[at + p.n];
}
