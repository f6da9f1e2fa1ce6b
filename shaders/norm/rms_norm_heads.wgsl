// Computes: x = x / sqrt(mean(x^2) + eps) * weight, for every vector x of queries and of keys, in place
// Inputs: rows of q, k and v; the weights of queries and of keys
// Work split: TEAM invocations own one vector
// Shapes: qkv [.., row] f32, rows of q_groups vectors [q_width], then k_groups vectors [k_width], then what is left as it is;
//         q_weight [q_width], k_weight [k_width] f32

struct Params {
    tokens: u32,
    offset: u32,   // row of qkv that holds token 0
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
@group(0) @binding(1) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> q_weight: array<f32>;
@group(0) @binding(3) var<storage, read> k_weight: array<f32>;

override TEAM: u32;

@compute @workgroup_size(WIDTH)
fn rms_norm_heads(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let v = vectors_find(wg.x + wg.y * nwg.x, lane);
    var squares = 0.0;
    for (var i = lane % TEAM; i < v.width; i += TEAM) {
        let x = qkv[v.first + i];
        squares += x * x;
    }
    squares = vectors_sum(lane, squares);
    let scale = inverseSqrt(squares / f32(select(p.q_count, p.k_count, v.is_key)) + p.eps);
    for (var i = lane % TEAM; i < v.width && v.inside; i += TEAM) {
        var weight = 0.0;
        if v.is_key {
            weight = k_weight[i];
        } else {
            weight = q_weight[i];
        }
        qkv[v.first + i] *= scale * weight;
    }
}
