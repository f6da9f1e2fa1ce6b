// out = sum_s e_s values_s / sum_s e_s sum_s with e_s = exp(max_s - max over s)
// one invocation owns one pair of values of one (row, head)
// parts [rows, heads, splits, 2 + head_dim] f32, each (max, sum, values); out [rows, heads, head_dim] f32

struct Params {
    groups: u32, // rows heads
    pairs: u32,  // head_dim / 2
    splits: u32,
    before: u32, // pairs of other rows in out
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> parts: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec2<f32>>;

const WIDTH = 64u;

@compute @workgroup_size(WIDTH)
fn attention_merge(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if i >= p.groups * p.pairs {
        return;
    }
    let size = 1u + p.pairs;
    let first = i / p.pairs * p.splits * size;
    var top = parts[first].x; // the first range is never empty
    for (var s = 1u; s < p.splits; s++) {
        let part = parts[first + s * size];
        top = select(top, max(top, part.x), part.y > 0.0);
    }
    var sums = vec3(0.0);
    for (var s = 0u; s < p.splits; s++) {
        let at = first + s * size;
        let part = parts[at];
        let e = select(0.0, exp(min(part.x - top, 0.0)), part.y > 0.0);
        sums += e * vec3(part.y, parts[at + 1u + i % p.pairs]);
    }
    out[p.before + i] = sums.yz / sums.x;
}
