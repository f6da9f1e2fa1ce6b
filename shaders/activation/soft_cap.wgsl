// Computes: y = cap * tanh(scale * y / cap), or y = scale * y where the cap is 0
// Inputs: y itself
// Work split: one invocation owns one element
// Shapes: y [n] f32

struct Params {
    n: u32,
    scale: f32,
    cap: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

const WIDTH = 256u;

// tanh that neither overflows nor loses small arguments: the built-in one of some devices does the first, and a difference of
// exponentials the second
fn soft_cap_tanh(x: f32) -> f32 {
    let a = abs(x);
    let e = exp(-2.0 * a);
    let large = (1.0 - e) / (1.0 + e);
    let s = x * x;
    let small = a * (1.0 + s * (-0.33333333 + s * (0.13333333 + s * -0.053968254)));
    return sign(x) * select(large, small, a < 0.125);
}

@compute @workgroup_size(WIDTH)
fn soft_cap(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if i >= p.n {
        return;
    }
    let x = p.scale * y[i];
    if p.cap > 0.0 {
        y[i] = p.cap * soft_cap_tanh(x / p.cap);
    } else {
        y[i] = x;
    }
}
