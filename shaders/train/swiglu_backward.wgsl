// Computes: d_gate = d_y * up * s * (1 + gate * t' * (1 - s)), d_up = d_y * gate * s, with s = sigmoid(t), t and its derivative
// t' of the gate as lib/gelu.wgsl has them
// Inputs: d_y, and x with gate, then up, in each row
// Work split: one invocation owns one element of d_y
// Shapes: d_y [rows, n] f32; x [rows, 2 * n] f32, in place

struct Params {
    tokens: u32,
    n: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> d_y: array<f32>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;

const WIDTH = 256u;

@compute @workgroup_size(WIDTH)
fn swiglu_backward(
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
    let up = x[at + p.n];
    let t = gelu_argument(gate);
    let s = sigmoid(t);
    let d = d_y[i];
    x[at] = d * up * s * (1.0 + gate * gelu_slope(gate) * sigmoid(-t)); // 1 - s would lose its digits
    x[at + p.n] = d * gate * s;
}
