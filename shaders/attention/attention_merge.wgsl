// Computes: out = sum_s e_s values_s / sum_s e_s sum_s over the ranges s of a token, where e_s = exp(max_s - max over s)
// Inputs: partials as attention_split and attention_step leave them; a range whose sum is 0 has no positions
// Work split: one invocation owns one pair of values of one token and head
// Shapes: partials [tokens, heads, splits, 2 + head_dim] f32, each (max, sum, values); out [tokens, heads, head_dim] f32,
// or [tokens, 2, heads, head_dim / 2] of complex heads

struct Params {
    groups: u32, // tokens heads
    pairs: u32,  // head_dim / 2
    splits: u32,
    heads: u32,
    out_pitch: u32, // of out, in pairs: from head to head
    out_gap: u32,   // and between the halves of a head; 0 unless they are complex
    offset: u32, // pairs of out that belong to tokens before the first
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partials: array<vec2<f32>>;
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
    var top = partials[first].x; // the first range is never empty
    for (var s = 1u; s < p.splits; s++) {
        let partial = partials[first + s * size];
        top = select(top, max(top, partial.x), partial.y > 0.0);
    }
    var sums = vec3(0.0);
    for (var s = 0u; s < p.splits; s++) {
        let index = first + s * size;
        let partial = partials[index];
        // The weight of the largest score is exactly 1, which exp(0) need not be: a token with a single range gets the bits
        // that it gets where nothing is split.
        let weight = select(exp(min(partial.x - top, 0.0)), 1.0, partial.x == top);
        let e = select(0.0, weight, partial.y > 0.0);
        sums += e * vec3(partial.y, partials[index + 1u + i % p.pairs]);
    }
    var dst = i;
    if p.out_gap > 0u {
        let head = i / p.pairs % p.heads;
        let pair = i % p.pairs;
        dst = i - head * (p.pairs - p.out_pitch) + select(0u, p.out_gap, pair >= p.pairs / 2u);
    }
    out[p.offset + dst] = sums.yz / sums.x;
}
