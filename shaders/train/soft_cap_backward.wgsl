// Computes: d *= scale * (1 - (y / cap)^2), or d *= scale where the cap is 0
// Inputs: y, the capped values; d, the gradient of them
// Work split: one invocation owns one element
// Shapes: y [n], d [n] f32

struct Params {
    n: u32,
    scale: f32,
    cap: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> d: array<f32>;

const WIDTH = 256u;

@compute @workgroup_size(WIDTH)
fn soft_cap_backward(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if i >= p.n {
        return;
    }
    var slope = p.scale;
    if p.cap > 0.0 {
        let t = y[i] / p.cap;
        slope *= (1.0 - t) * (1.0 + t);
    }
    d[i] *= slope;
}
