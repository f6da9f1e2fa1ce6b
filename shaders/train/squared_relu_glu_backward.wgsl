// Computes: d_up = a * d_y and d_gate = 2 (re(gate) re(b), im(gate) im(b)) with b = (re(conj(up) d_y), -im(conj(up) d_y)) and
// a = (re(gate)^2, im(gate)^2), on complex values; both are 0 where both parts of the gate are negative
// Inputs: d_y, and x with gate, then up, in each row; all of them real parts before imaginary parts
// Work split: one invocation owns one complex value of d_y
// Shapes: d_y [rows, n] f32; x [rows, 2 * n] f32, in place

struct Params {
    tokens: u32,
    n: u32, // even
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> d_y: array<f32>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;

const WIDTH = 256u;

@compute @workgroup_size(WIDTH)
fn squared_relu_glu_backward(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    let half = p.n / 2u;
    if i >= p.tokens * half {
        return;
    }
    let source = i + i / half * half;
    let at = source + i / half * p.n;
    let d = vec2(d_y[source], d_y[source + half]);
    let all_gate = vec2(x[at], x[at + half]);
    let gate = select(all_gate, vec2(0.0), all(all_gate < vec2(0.0)));
    let up = vec2(x[at + p.n], x[at + p.n + half]);
    let a = gate * gate;
    x[at] = 2.0 * gate.x * (up.x * d.x + up.y * d.y);
    x[at + half] = 2.0 * gate.y * (up.y * d.x - up.x * d.y);
    x[at + p.n] = a.x * d.x - a.y * d.y;
    x[at + p.n + half] = a.y * d.x + a.x * d.y;
}
