// Computes: out = sum_t softmax_t(scale * q . k_t) v_t over the last `window` positions t <= position + i of one slot, where i
// counts the tokens, which are consecutive ones of one sequence; by cooperative matrices
// Inputs: qkv, of which q is read; keys and values from the caches
// Work split: one workgroup owns 128 tokens of one head, each of its 8 subgroups 16; it reads the keys once, 32 at a time.
// Of heads of more than 128 values it owns 64 tokens, and two subgroups share 16: each has one half of queries, keys and values
// Shapes: qkv [tokens, heads + 2 kv_heads, HEAD_DIM] f32; caches [slots, capacity, kv_heads, HEAD_DIM] f16;
// out [tokens, heads, HEAD_DIM] f32, or [tokens, 2, heads, HEAD_DIM / 2] of complex heads
enable f16;
enable wgpu_int16;
enable wgpu_cooperative_matrix;

struct Params {
    tokens: u32,
    heads: u32,
    kv_heads: u32,
    position: u32, // of token 0
    window: u32,   // positions that a token sees at most
    scale: f32,    // of scores, times log2(e)
    out_pitch: u32, // of out, in vec4s: from head to head
    out_gap: u32,   // and between the halves of a head
    base: u32,     // first cache row of the slot
    capacity: u32, // positions of the slot, which is a ring
    offset: u32,   // row of qkv and out that holds token 0
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> k_cache: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> v_cache: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;

override HEAD_DIM: u32;  // a multiple of 8
override HEAD: u32;      // 64, 128 or 256: with zeros behind it
override WINDOWED: bool; // some token does not see all positions up to its own
override SOFTCAP: f32;   // of scores, times log2(e); 0: none
override RING: bool;     // some position lies beyond the capacity

override SHARE = HEAD / 129u + 1u; // subgroups that share their tokens: 2 of heads of 256 values
override TOKENS = 128u / SHARE;
override PITCH = 32u * SHARE + 2u; // vec4s from row to row of keys and values: 128 or 256 halves and 8 more
override VALUES = (2u - SHARE) * 32u * PITCH; // where values begin in the tile; 0: in the place of used up keys
override PASSES = HEAD / 64u; // rows that an invocation stages of a tile

const WIDTH = 256u;
const KEYS = 32u;      // positions of a tile
const SPITCH = 9u;     // vec4s from row to row of scores
const PPITCH = 10u;    // vec4s from row to row of weights, and of queries
const SCORE_SCALE = 1.0; // queries are scaled
const UNSEEN = -1e30;  // below every score, and above what hidden ones become

var<workgroup> tile: array<vec4<f16>, 2176>;    // keys [32, PITCH], values [32, PITCH], or one after the other
var<workgroup> scores: array<vec4<f32>, 1152>;  // [8 subgroups, 16, SPITCH]
var<workgroup> weights: array<vec4<f16>, 1280>; // [8 subgroups, 16, PPITCH]
var<workgroup> grown: array<u32, 8>;            // whether a subgroup's reference must grow

alias Queries = array<coop_mat16x16<f16, A>, 8>;
alias Sums = array<coop_mat16x16<f32, C>, 8>;

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
    let mine = index / 32u * 16u; // first of the subgroup's 16 rows of scores and weights
    let side = index / 32u % SHARE;
    let part = index / 16u % 2u;  // which half of the 32 scores of token index % 16 this lane has
    let scores_at = (mine + index % 16u) * SPITCH + part * 4u;
    let token = first + index / 32u / SHARE * 16u + index % 16u;
    let known = p.position + min(token, p.tokens - 1u) + 1u; // positions this token sees
    let hidden = select(0u, known - min(known, p.window), WINDOWED);
    let begin = select(0u, p.position + first + 1u - min(p.position + first + 1u, p.window), WINDOWED);
    let end = p.position + min(first + TOKENS, p.tokens);
    let lap = ring_lap(begin);
    var staged = coop_stage_fetch(begin, lap, kv, index);
    var q = coop_scores_queries(first, head, index);
    var o: Sums;
    var total = 0.0;
    var reference = UNSEEN;
    for (var start = begin; start < end; start += KEYS) {
        workgroupBarrier();
        coop_stage_pair_keys(staged, index);
        workgroupBarrier();
        let values = staged;
        staged = coop_stage_fetch(start + KEYS, lap, kv, index);
        coop_scores_tile(&q, mine, side * 32u);
        workgroupBarrier();
        coop_stage_pair_values(values, index);
        let seen = max(vec2(hidden, known), vec2(start + part * 16u)) - start - part * 16u;
        let s = coop_scores_seen(scores_at, scores_at + (1u - 2u * side) * 16u * SPITCH, seen);
        let top = coop_scores_largest(s);
        // Weights refer to the largest score of a token's first tile until they would become too large.
        reference = select(reference, max(top, UNSEEN), reference == UNSEEN);
        if coop_scores_any(top > reference + 8.0, index) {
            let next = max(reference, top);
            let factor = exp2(reference - next);
            coop_values_rescale(&o, mine, scores_at, factor);
            total *= factor;
            reference = next;
        }
        total += coop_scores_weigh(s, (mine + index % 16u) * PPITCH + part * 4u, reference);
        workgroupBarrier();
        coop_values_add(&o, mine, side * 32u);
    }
    total += subgroupShuffleXor(total, 16u);
    let four = part * 4u + side * 32u;
    let dst = (p.offset + token) * p.heads * (HEAD_DIM / 4u) + head * p.out_pitch + four + side * p.out_gap;
    let fours = select(0u, max(HEAD_DIM / 4u, four) - four, token < p.tokens);
    coop_values_write(&o, mine, scores_at, dst, 1.0 / total, fours);
}
