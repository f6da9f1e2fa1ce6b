// Computes: d_x (+)= s * (w * d_y - x * s^2 * mean(w * d_y * x)) with s = 1 / sqrt(mean(x^2) + eps), per row; s is left
// Inputs: x, the norm's weights w and the gradient d_y
// Work split: one workgroup owns one row
// Shapes: x, d_y, d_x [rows, n] f32; weight [n] f32; scale [rows] f32

struct Params {
    tokens: u32,
    n: u32,
    count: u32, // values that both means are over: n, or n / 2 complex ones
    eps: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> d_y: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_x: array<f32>;
@group(0) @binding(5) var<storage, read_write> scale: array<f32>;

override ACCUMULATE: bool = false;

const WIDTH = 256u;

@compute @workgroup_size(WIDTH)
fn rms_norm_backward(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.tokens {
        return;
    }
    let base = row * p.n;
    var squares = 0.0;
    var products = 0.0;
    for (var i = lane; i < p.n; i += WIDTH) {
        let v = x[base + i];
        squares += v * v;
        products += weight[i] * d_y[base + i] * v;
    }
    squares = reduce_sum(lane, squares);
    products = reduce_sum(lane, products);
    let n = f32(p.count);
    let s = inverseSqrt(squares / n + p.eps);
    let pull = products / n * s * s;
    for (var i = lane; i < p.n; i += WIDTH) {
        let at = base + i;
        d_x[at] = select(0.0, d_x[at], ACCUMULATE) + s * (weight[i] * d_y[at] - x[at] * pull);
    }
    if lane == 0u {
        scale[row] = s;
    }
}
