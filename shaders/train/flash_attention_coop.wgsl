// Computes: out = sum_j weight_j v_j, weight_j = exp(s_j - lse), over the last `window` positions j <= i of a token's sequence,
// where s_j = scale * q . k_j, or SOFTCAP * tanh(s_j / SOFTCAP), and lse = log sum_j exp(s_j); by cooperative matrices
// Inputs: queries, keys and values of all sequences
// Work split: as attention_coop.wgsl: one workgroup owns 128 tokens of one head, each of its 8 subgroups 16; of heads of more
// than 128 values it owns 64 tokens, and two subgroups share 16
// Shapes: qkv [n_seqs, tokens, heads + 2 kv_heads, HEAD_DIM] f16; out [n_seqs, tokens, heads, HEAD_DIM] f32, or
// [n_seqs, tokens, 2, heads, HEAD_DIM / 2] of complex heads; lse [n_seqs, heads, tokens] f32
enable f16;
enable wgpu_int16;
enable wgpu_cooperative_matrix;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> qkv: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;

override HEAD_DIM: u32;    // a multiple of 8
override HEAD: u32;        // 64, 128 or 256: with zeros behind it
override WINDOWED: bool;   // some token does not see all positions up to its own
override SOFTCAP: f32;     // of scores, times log2(e); 0: none
override SCORE_SCALE: f32; // of scores, times log2(e)

override SHARE = HEAD / 129u + 1u; // subgroups that share their tokens: 2 of heads of 256 values
override TOKENS = 128u / SHARE;
override PITCH = 32u * SHARE + 2u; // vec4s from row to row of keys and values: 128 or 256 halves and 8 more
override VALUES = (2u - SHARE) * 32u * PITCH; // where values begin in the tile; 0: in the place of used up keys
override PASSES = HEAD / 64u;      // rows that an invocation stages of a tile

const WIDTH = 256u;
const KEYS = 32u;      // positions of a tile
const SPITCH = 9u;     // vec4s from row to row of scores
const PPITCH = 10u;    // vec4s from row to row of weights, and of queries
const UNSEEN = -1e30;  // below every score, and above what hidden ones become
const LN2 = 0.69314718;

var<workgroup> tile: array<vec4<f16>, 2176>;    // keys [32, PITCH], values [32, PITCH], or one after the other
var<workgroup> scores: array<vec4<f32>, 1152>;  // [8 subgroups, 16, SPITCH]
var<workgroup> weights: array<vec4<f16>, 1280>; // [8 subgroups, 16, PPITCH]
var<workgroup> grown: array<u32, 8>;            // whether a subgroup's reference must grow

alias Queries = array<coop_mat16x16<f16, A>, 8>;
alias Sums = array<coop_mat16x16<f32, C>, 8>;

// writes 32 columns of every subgroup's queries to where its weights will lie later
fn coop_stage_queries(first: u32, head: u32, index: u32, column: u32) {
    let begin = coop_rows_head(head / p.heads, head % p.heads);
    let stride = (p.heads + 2u * p.kv_heads) * (HEAD_DIM / 8u);
    workgroupBarrier();
    for (var i = index; i < 512u; i += WIDTH) {
        let subgroup = i / 64u;
        let token = min(first + subgroup / SHARE * 16u + i / 4u % 16u, p.tokens - 1u);
        let eight = (subgroup % SHARE * 128u + column) / 8u + i % 4u;
        let query = qkv[begin + token * stride + min(eight, HEAD_DIM / 8u - 1u)];
        let v = select(vec4(0u), query, HEAD == HEAD_DIM || eight < HEAD_DIM / 8u);
        let dst = i / 4u * PPITCH + i % 4u * 2u;
        weights[dst] = quad(v.x, v.y);
        weights[dst + 1u] = quad(v.z, v.w);
    }
    workgroupBarrier();
}

// What a lane has of its token: columns from its part of 32 on, of its subgroup's side of the head, and the logarithm of the sum.
fn write(o: ptr<function, Sums>, sums: vec2<f32>, lane: vec4<u32>, mine: u32, scores_at: u32) {
    let head = lane.x;
    let token = lane.y;
    if lane.z + lane.w == 0u && token < p.tokens {
        lse[head * p.tokens + token] = (sums.y + log2(sums.x)) * LN2;
    }
    let four = lane.z * 4u + lane.w * 32u;
    let row = (head / p.heads * p.tokens + token) * p.heads * (HEAD_DIM / 4u);
    let dst = row + head % p.heads * p.out_pitch + four + lane.w * p.out_gap;
    let fours = select(0u, max(HEAD_DIM / 4u, four) - four, token < p.tokens);
    coop_values_write(o, mine, scores_at, dst, 1.0 / sums.x, fours);
}

@compute @workgroup_size(WIDTH)
fn flash_attention_coop(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    let heads = p.n_seqs * p.heads;
    let head = group % heads;
    let tiles = (p.tokens + TOKENS - 1u) / TOKENS;
    if group / heads >= tiles {
        return;
    }
    // The last tokens see most positions: they go first.
    let first = (tiles - 1u - group / heads) * TOKENS;
    let kv = p.heads + head % p.heads / (p.heads / p.kv_heads);
    let k_begin = coop_rows_head(head / p.heads, kv);
    let v_begin = coop_rows_head(head / p.heads, kv + p.kv_heads);
    let mine = index / 32u * 16u; // first of the subgroup's 16 rows of scores and weights
    let side = index / 32u % SHARE;
    let part = index / 16u % 2u;  // which half of the 32 scores of token index % 16 this lane has
    let scores_at = (mine + index % 16u) * SPITCH + part * 4u;
    let token = first + index / 32u / SHARE * 16u + index % 16u;
    let known = min(token, p.tokens - 1u) + 1u; // positions this token sees
    let hidden = select(0u, known - min(known, p.window), WINDOWED);
    let begin = select(0u, first + 1u - min(first + 1u, p.window), WINDOWED);
    let end = min(first + TOKENS, p.tokens);
    var staged = Staged(coop_rows_fetch(begin, k_begin, index), coop_rows_fetch(begin, v_begin, index));
    var q = coop_scores_queries(first, head, index);
    var o: Sums;
    var total = 0.0;
    var reference = UNSEEN;
    for (var start = begin; start < end; start += KEYS) {
        workgroupBarrier();
        coop_stage_pair_keys(staged, index);
        workgroupBarrier();
        let values = staged;
        staged.k = coop_rows_fetch(start + KEYS, k_begin, index);
        staged.v = coop_rows_fetch(start + KEYS, v_begin, index);
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
    let sums = vec2(total + subgroupShuffleXor(total, 16u), reference);
    write(&o, sums, vec4(head, token, part, side), mine, scores_at);
}
