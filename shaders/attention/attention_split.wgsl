// Computes: partial = (max, sum_t e_t, sum_t e_t v_t) over each range of positions t that a token sees, where
// e_t = exp(scale * q . k_t - max); a range without positions is all zeros
// Inputs: rows [tokens, 2] u32 of (slot, position); qkv, of which q is read; keys and values from the caches
// Work split: one workgroup owns one range of one token and head
// Shapes: qkv [tokens, heads + 2 kv_heads, head_dim] f32; caches [slots, capacity, kv_heads, head_dim] f32 or f16;
// partials [tokens, heads, splits, 2 + head_dim] f32

struct Params {
    tokens: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32, // even, at most 256
    capacity: u32, // positions of a slot, which is a ring
    scale: f32,
    window: u32,   // positions that a token sees at most
    offset: u32,   // row of qkv that holds token 0
    splits: u32,   // ranges of the token that sees most positions
    range: u32,    // positions of a range, in a run
    least: u32,    // positions that a range has at least, in a table
    table: u32,    // 0: a run of one slot; 1: rows says where each token stands
    row: u32,
    slot: u32,
    position: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> rows: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> k_cache: array<KvPair>;
@group(0) @binding(4) var<storage, read> v_cache: array<KvPair>;
@group(0) @binding(5) var<storage, read_write> partials: array<vec2<f32>>;

override SOFTCAP: f32; // of scores; 0: none
override RING: bool;   // some position lies beyond the capacity

// Positions of a range of a token that sees `seen` of them. Tokens of several sequences are cut each by its own position,
// so that the sums of a sequence are rounded as they are without the others.
fn range_of(seen: u32) -> u32 {
    var range = p.range;
    if p.table == 1u {
        let splits = clamp(seen / p.least, 1u, p.splits);
        range = (seen + splits - 1u) / splits;
    }
    return range;
}

@compute @workgroup_size(WIDTH)
fn attention_split(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    if group >= p.tokens * p.heads * p.splits {
        return;
    }
    let split = group % p.splits;
    let head = group / p.splits % p.heads;
    let token = group / p.splits / p.heads;
    let place = row_table_place(token);
    let end = place.y + 1u;
    let seen = min(end, p.window);
    let range = range_of(seen);
    let begin = end - seen + split * range;
    let pairs = p.head_dim / 2u;
    let found = attend(lane, p.offset + token, head, place.x * p.capacity, vec2(begin, min(begin + range, end)));
    let dst = group * (1u + pairs);
    if lane == 0u {
        partials[dst] = vec2(found.top, found.sums.x);
    }
    if lane < pairs {
        partials[dst + 1u + lane] = found.sums.yz;
    }
}
