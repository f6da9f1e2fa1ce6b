// Computes: d = s * (w * d - x * s^2 * mean(w * d * x)) with s = 1 / sqrt(mean(x^2) + eps), and x = d * x * s with d as it was:
//           what each value adds to the gradient of its weight w; for every vector of queries and of keys, in place
// Inputs: rows of q, k and v before they were normalized; the weights of queries and of keys; the gradient d
// Work split: TEAM invocations own one vector
// Shapes: x and d [.., row] f32, rows of q_groups vectors [q_width], then k_groups vectors [k_width], then what is left as it
//         is; q_weight [q_width], k_weight [k_width] f32

struct Params {
    tokens: u32,
    offset: u32,   // row of x and d that holds token 0
    row: u32,      // values of a row
    q_groups: u32, // vectors of queries in a row
    k_groups: u32,
    q_width: u32,  // values of a vector
    k_width: u32,
    q_count: u32,  // values that the mean square is over: all, or half as many complex ones
    k_count: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read> q_weight: array<f32>;
@group(0) @binding(3) var<storage, read> k_weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> d: array<f32>;

override TEAM: u32;

fn weight(v: Vector, i: u32) -> f32 {
    var w = 0.0;
    if v.is_key {
        w = k_weight[i];
    } else {
        w = q_weight[i];
    }
    return w;
}

@compute @workgroup_size(WIDTH)
fn rms_norm_heads_backward(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let v = vectors_find(wg.x + wg.y * nwg.x, lane);
    var squares = 0.0;
    var products = 0.0;
    for (var i = lane % TEAM; i < v.width; i += TEAM) {
        let value = x[v.first + i];
        squares += value * value;
        products += weight(v, i) * d[v.first + i] * value;
    }
    squares = vectors_sum(lane, squares);
    products = vectors_sum(lane, products);
    let n = f32(select(p.q_count, p.k_count, v.is_key));
    let s = inverseSqrt(squares / n + p.eps);
    let pull = products / n * s * s;
    for (var i = lane % TEAM; i < v.width && v.inside; i += TEAM) {
        let value = x[v.first + i];
        let before = d[v.first + i];
        d[v.first + i] = s * (weight(v, i) * before - value * pull);
        x[v.first + i] = before * value * s;
    }
}
