// Computes: y = f16(x / sqrt(mean(x^2) + eps) * weight), or f16(x), per row, clamped to the range of f16
// Inputs: x and the norm's weights
// Work split: one workgroup owns one row
// Shapes: x [rows, n] f32; weight [n] f32; y [rows, n] f16, two a word

struct Params {
    tokens: u32,
    n: u32,
    count: u32, // values that the mean square is over: n, or n / 2 complex ones
    eps: f32,
    normed: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;

const WIDTH = 256u;
const LARGEST = 65504.0;

@compute @workgroup_size(WIDTH)
fn rms_norm_f16(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.tokens {
        return;
    }
    let pairs = p.n / 2u;
    let base = row * pairs;
    var scale = 1.0;
    if p.normed == 1u {
        var sum = 0.0;
        for (var i = lane; i < pairs; i += WIDTH) {
            let v = x[base + i];
            sum += dot(v, v);
        }
        scale = inverseSqrt(reduce_sum(lane, sum) / f32(p.count) + p.eps);
    }
    for (var i = lane; i < pairs; i += WIDTH) {
        var v = x[base + i];
        if p.normed == 1u {
            v *= scale * weight[i];
        }
        y[base + i] = pack2x16float(clamp(v, vec2(-LARGEST), vec2(LARGEST)));
    }
}
