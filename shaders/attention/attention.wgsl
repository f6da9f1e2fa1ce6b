// Computes: out = sum_t softmax_t(scale * q . k_t) v_t over the last `window` positions t <= position of each token's slot
// Inputs: rows [tokens, 2] u32 of (slot, position); qkv, of which q is read; keys and values from the caches
// Work split: one workgroup owns one token and head
// Shapes: qkv [tokens, heads + 2 kv_heads, head_dim] f32; caches [slots, capacity, kv_heads, head_dim] f32 or f16;
// out [tokens, heads, head_dim] f32, or [tokens, 2, heads, head_dim / 2] of complex heads

struct Params {
    tokens: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32, // even, at most 256
    capacity: u32, // positions of a slot, which is a ring
    scale: f32,
    window: u32,   // positions that a token sees at most
    out_pitch: u32, // of out, in pairs: from head to head
    out_gap: u32,   // and between the halves of a head
    offset: u32,   // row of qkv and out that holds token 0
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
@group(0) @binding(5) var<storage, read_write> out: array<vec2<f32>>;

override SOFTCAP: f32; // of scores; 0: none
override RING: bool;   // some position lies beyond the capacity

@compute @workgroup_size(WIDTH)
fn attention(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    if group >= p.tokens * p.heads {
        return;
    }
    let token = group / p.heads;
    let place = row_table_place(token);
    let end = place.y + 1u;
    let seen = vec2(end - min(end, p.window), end);
    let found = attend(lane, p.offset + token, group % p.heads, place.x * p.capacity, seen);
    let pairs = p.head_dim / 2u;
    if lane < pairs {
        let dst = (p.offset + token) * p.heads * pairs + group % p.heads * p.out_pitch + lane;
        out[dst + select(0u, p.out_gap, lane >= pairs / 2u)] = found.sums.yz / found.sums.x;
    }
}
