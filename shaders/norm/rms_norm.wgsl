// Computes: y = x / sqrt(mean(x^2) + eps) * weight, or y plus that, per row
// Inputs: x and the norm's weights
// Work split: one workgroup owns one row
// Shapes: x [rows, n] f32; weight [n] f32; y [rows, n] f32

struct Params {
    tokens: u32,
    n: u32,
    count: u32, // values that the mean square is over: n, or n / 2 complex ones
    eps: f32,
    accumulate: u32, // 1: added to y
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

const WIDTH = 256u;

// four values, a workgroup's width apart; zero beyond the row
fn four(base: u32, i: u32) -> vec4<f32> {
    let at = i + WIDTH * vec4(0u, 1u, 2u, 3u);
    let place = base + min(at, vec4(p.n - 1u));
    return select(vec4(0.0), vec4(x[place.x], x[place.y], x[place.z], x[place.w]), at < vec4(p.n));
}

fn put(base: u32, i: u32, value: f32) {
    if i >= p.n {
        return;
    }
    var before = 0.0;
    if p.accumulate == 1u {
        before = y[base + i];
    }
    y[base + i] = before + value * weight[i];
}

@compute @workgroup_size(WIDTH)
fn rms_norm(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wg.x + wg.y * nwg.x;
    if row >= p.tokens {
        return;
    }
    let base = row * p.n;
    // sixteen loads at once: a row's latency is all that one workgroup waits for
    var sums = vec4(0.0);
    for (var i = lane; i < p.n; i += 16u * WIDTH) {
        let a = four(base, i);
        let b = four(base, i + 4u * WIDTH);
        let c = four(base, i + 8u * WIDTH);
        let d = four(base, i + 12u * WIDTH);
        sums += (a * a + b * b) + (c * c + d * d);
    }
    let total = reduce_sum(lane, (sums.x + sums.y) + (sums.z + sums.w));
    let scale = inverseSqrt(total / f32(p.count) + p.eps);
    for (var i = lane; i < p.n; i += 4u * WIDTH) {
        let v = four(base, i) * scale;
        put(base, i, v.x);
        put(base, i + WIDTH, v.y);
        put(base, i + 2u * WIDTH, v.z);
        put(base, i + 3u * WIDTH, v.w);
    }
}
