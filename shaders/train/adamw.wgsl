// Computes: g = factor * gradient; m = m + (1 - beta1) * (g - m); v = beta2 * v + (1 - beta2) * g^2;
//           x = keep * x - step * m / (sqrt(v) / root + eps)
// Inputs: gradient, moments and weights, each from an offset on
// Work split: one invocation owns every 256th of a workgroup's 4096 values
// Shapes: gradient, x, m, v: n values of f32

struct Params {
    n: u32,
    factor: f32, // of the gradient: clipping, and the loss scale undone
    rest1: f32,  // 1 - beta1
    beta2: f32,
    rest2: f32,  // 1 - beta2
    keep: f32,   // 1 - learning rate * weight decay
    step: f32,   // learning rate / (1 - beta1^t)
    root: f32,   // sqrt(1 - beta2^t)
    eps: f32,
    gradient_offset: u32, // index of the first value
    x_offset: u32,
    moments_offset: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> m: array<f32>;
@group(0) @binding(4) var<storage, read_write> v: array<f32>;

const WIDTH = 256u;
const PER_GROUP = 4096u;

@compute @workgroup_size(WIDTH)
fn adamw(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let begin = (wg.x + wg.y * nwg.x) * PER_GROUP;
    let end = min(p.n, begin + PER_GROUP);
    for (var i = begin + lane; i < end; i += WIDTH) {
        let g = p.factor * gradient[p.gradient_offset + i];
        let j = p.moments_offset + i;
        let first = m[j] + p.rest1 * (g - m[j]);
        let second = p.beta2 * v[j] + p.rest2 * g * g;
        m[j] = first;
        v[j] = second;
        let at = p.x_offset + i;
        x[at] = p.keep * x[at] - p.step * first / (sqrt(second) / p.root + p.eps);
    }
}
