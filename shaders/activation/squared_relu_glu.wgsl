// Computes: y = conj(a) * up on complex values, with a = (re(gate)^2, im(gate)^2), or 0 where both parts of the gate are negative
// Inputs: x holds gate, then up, in each row, each of them real parts before imaginary parts
// Work split: one invocation owns one complex value of y
// Shapes: x [rows, 2 * n] f32; y [rows, n] f32

struct Params {
    tokens: u32,
    n: u32, // even
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const WIDTH = 256u;

@compute @workgroup_size(WIDTH)
fn squared_relu_glu(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    let half = p.n / 2u;
    if i >= p.tokens * half {
        return;
    }
    let dst = i + i / half * half;
    let at = dst + i / half * p.n;
    let gate = vec2(x[at], x[at + half]);
    let up = vec2(x[at + p.n], x[at + p.n + half]);
    let a = select(gate * gate, vec2(0.0), all(gate < vec2(0.0)));
    y[dst] = a.x * up.x + a.y * up.y;
    y[dst + half] = a.x * up.y - a.y * up.x;
}
