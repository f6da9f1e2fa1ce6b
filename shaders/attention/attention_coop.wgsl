// Computes: out = sum_t softmax_t(q . k_t / sqrt(HEAD)) v_t over the positions t = 0..=position + i of one slot, where i counts
// the tokens, which are consecutive ones of one sequence; by cooperative matrices
// Inputs: qkv, of which q is read; keys and values from the caches
// Work split: one workgroup owns 128 tokens of one head, each of its 8 subgroups 16; it reads the keys once, 32 at a time
// Shapes: qkv [tokens, heads + 2 kv_heads, HEAD] f32; caches [slots, capacity, kv_heads, HEAD] f16; out [tokens, heads, HEAD] f32,
// or [tokens, 2, heads, HEAD / 2] of complex heads
enable f16;
enable wgpu_int16;
enable wgpu_cooperative_matrix;

struct Params {
    tokens: u32,
    heads: u32,
    kv_heads: u32,
    position: u32, // of token 0
    scale: f32,    // of scores, times log2(e)
    out_pitch: u32, // of out, in vec4s: from head to head
    out_gap: u32,   // and between the halves of a head
    base: u32,     // cache row of the slot's position 0
    offset: u32,   // row of qkv and out that holds token 0
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> k_cache: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> v_cache: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;

override HEAD: u32; // 64 or 128

const WIDTH = 256u;
const TOKENS = 128u;
const KEYS = 32u;      // positions of a tile
const PITCH = 34u;     // vec4s from row to row of keys and values: 128 halves and 8 more
const VALUES = 1088u;  // where values begin in the tile
const SPITCH = 9u;     // vec4s from row to row of scores
const PPITCH = 10u;    // vec4s from row to row of weights, and of queries

var<workgroup> tile: array<vec4<f16>, 2176>;    // keys [32, PITCH], values [32, PITCH]
var<workgroup> scores: array<vec4<f32>, 1152>;  // [8 subgroups, 16, SPITCH]
var<workgroup> weights: array<vec4<f16>, 1280>; // [8 subgroups, 16, PPITCH]
var<workgroup> grown: array<u32, 8>;            // whether a subgroup's reference must grow

alias Queries = array<coop_mat16x16<f16, A>, 8>;
alias Sums = array<coop_mat16x16<f32, C>, 8>;

// keys and values that an invocation stages: eight of one position, and eight of another 16 further on
struct Staged {
    k0: vec4<u32>,
    k1: vec4<u32>,
    v0: vec4<u32>,
    v1: vec4<u32>,
}

// Those of the positions from `start` on; beyond the last position that is seen they are the last one again.
fn fetch(start: u32, kv: u32, index: u32) -> Staged {
    let pieces = HEAD / 8u;
    let last = p.position + p.tokens - 1u;
    let t = start + index / pieces;
    let near = ((p.base + min(t, last)) * p.kv_heads + kv) * pieces + index % pieces;
    let far = ((p.base + min(t + 16u, last)) * p.kv_heads + kv) * pieces + index % pieces;
    return Staged(k_cache[near], k_cache[far], v_cache[near], v_cache[far]);
}

fn put(dst: u32, v: vec4<u32>) {
    tile[dst] = quad(v.x, v.y);
    tile[dst + 1u] = quad(v.z, v.w);
}

fn stage(s: Staged, index: u32) {
    let pieces = HEAD / 8u;
    let dst = index / pieces * PITCH + index % pieces * 2u;
    put(dst, s.k0);
    put(dst + VALUES, s.v0);
    if HEAD == 128u {
        put(dst + 16u * PITCH, s.k1);
        put(dst + 16u * PITCH + VALUES, s.v1);
    }
}

// writes 32 columns of the queries, scaled, to where weights will lie later
fn stage_queries(first: u32, head: u32, index: u32, column: u32) {
    workgroupBarrier();
    for (var i = index; i < TOKENS * 8u; i += WIDTH) {
        let token = min(first + i / 8u, p.tokens - 1u);
        let source = ((p.offset + token) * (p.heads + 2u * p.kv_heads) + head) * HEAD + column;
        weights[i / 8u * PPITCH + i % 8u] = vec4<f16>(qkv[source / 4u + i % 8u] * p.scale);
    }
    workgroupBarrier();
}

@compute @workgroup_size(WIDTH)
fn attention_coop(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    let head = group % p.heads;
    let tiles = (p.tokens + TOKENS - 1u) / TOKENS;
    if group / p.heads >= tiles {
        return;
    }
    // The last tokens see most positions: they go first.
    let first = (tiles - 1u - group / p.heads) * TOKENS;
    let kv = head / (p.heads / p.kv_heads);
    let mine = index / 32u * 16u; // first of the subgroup's 16 tokens
    let part = index / 16u % 2u;  // which half of the 32 scores of token index % 16 this lane has
    let scores_at = (mine + index % 16u) * SPITCH + part * 4u;
    let token = first + mine + index % 16u;
    let known = p.position + min(token, p.tokens - 1u) + 1u; // positions this token sees
    let end = p.position + min(first + TOKENS, p.tokens);
    var staged = fetch(0u, kv, index);
    var q = coop_scores_queries(first, head, index);
    var o: Sums;
    var total = 0.0;
    var reference = 0.0;
    for (var start = 0u; start < end; start += KEYS) {
        workgroupBarrier();
        stage(staged, index);
        workgroupBarrier();
        staged = fetch(start + KEYS, kv, index);
        coop_scores_tile(&q, mine);
        workgroupBarrier();
        let s = coop_scores_seen(scores_at, max(known, start + part * 16u) - start - part * 16u);
        let top = coop_scores_largest(s);
        // Weights refer to the largest score of the first tile until they would become too large.
        reference = select(reference, top, start == 0u);
        if coop_scores_any(top > reference + 8.0, index) {
            let next = max(reference, top);
            let factor = exp2(reference - next);
            coop_values_rescale(&o, mine, scores_at, factor);
            total *= factor;
            reference = next;
        }
        total += coop_scores_weigh(s, (mine + index % 16u) * PPITCH + part * 4u, reference);
        workgroupBarrier();
        coop_values_add(&o, mine);
    }
    total += subgroupShuffleXor(total, 16u);
    let dst = (p.offset + token) * p.heads * (HEAD / 4u) + head * p.out_pitch + part * 4u;
    coop_values_write(&o, mine, scores_at, dst, 1.0 / total, token < p.tokens);
}
