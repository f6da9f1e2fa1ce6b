// Computes: d_v_j = sum_i weight_ij d_out_i and d_k_j = scale * sum_i g_ij q_i over the tokens i that see position j, of all query
// heads of its key/value head, with weight_ij = exp(s_ij - lse_i) and g_ij as flash_attention_backward_q_coop.wgsl has it
// Inputs: queries, keys and values, gradients of outputs, logarithms of sums, deltas
// Work split: one workgroup owns 64 positions of one key/value head, each of its 4 subgroups 16; of heads of more than 64 or 128
// values it owns 32 or 16, and two or four subgroups share 16, each with 64 columns. It goes through the query heads one after the
// other, and reads the tokens of each once, 32 or 16 at a time
// Shapes: qkv and d_qkv [n_seqs, tokens, heads + 2 kv_heads, HEAD_DIM] f16 and f32; d_out [n_seqs, tokens, heads, HEAD_DIM] f16, or
// [n_seqs, tokens, 2, heads, HEAD_DIM / 2] of complex heads; lse and delta [n_seqs, heads, tokens] f32
enable f16;
enable wgpu_int16;
enable wgpu_cooperative_matrix;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> qkv: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> d_out: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> delta: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_qkv: array<vec4<f32>>;

override HEAD_DIM: u32;    // a multiple of 8
override HEAD: u32;        // 64, 128 or 256: with zeros behind it
override SOFTCAP: f32;     // of scores, times log2(e); 0: none
override SCORE_SCALE: f32; // of scores, times log2(e)

override SHARE = HEAD / 64u;              // subgroups that share their positions
override ROWS = 64u / SHARE;              // positions of a workgroup
override KEYS = 32u - HEAD / 256u * 16u;  // tokens of a tile
override PITCH = HEAD / 4u + 2u;          // vec4s from row to row of the tile: HEAD halves and 8 more
override PASSES = min(HEAD / 32u, 4u);    // rows that an invocation stages of a tile

const WIDTH = 128u;
const SPITCH = 9u;       // vec4s from row to row of scores
const PPITCH = 10u;      // vec4s from row to row of weights
const SECOND = 576u;     // vec4s of half of the scores
const GRADIENTS = 640u;  // where the gradients of scores begin in the weights
const LOG2E = 1.44269504;

var<workgroup> tile: array<vec4<f16>, 2176>;    // queries [KEYS, PITCH], gradients [KEYS, PITCH]; first keys, then values
var<workgroup> scores: array<vec4<f32>, 1152>;  // products with queries and with gradients, each [4 subgroups, 16, SPITCH]
var<workgroup> weights: array<vec4<f16>, 1280>; // weights and gradients of scores, each [ROWS, PPITCH]
var<workgroup> token_lse: array<vec4<f32>, 8>;
var<workgroup> token_delta: array<vec4<f32>, 8>;

// weights, and gradients of the products of queries and keys
fn weigh(first: u32, start: u32, index: u32) {
    for (var i = index; i < ROWS * (KEYS / 4u); i += WIDTH) {
        let row = i / (KEYS / 4u);
        let four = i % (KEYS / 4u);
        let s = softcap_of(coop_pairs_four(0u, row, four) * SCORE_SCALE);
        let d = coop_pairs_four(1u, row, four);
        let position = vec4(first + row);
        let token = start + 4u * four + vec4(0u, 1u, 2u, 3u);
        let seen = (token >= position) & (token - position < vec4(p.window)) & (token < vec4(p.tokens));
        let e = select(vec4(0.0), exp2(s - token_lse[four]), seen);
        var g = e * (d - token_delta[four]);
        if SOFTCAP > 0.0 {
            g *= 1.0 - (s / max(SOFTCAP, 1e-30)) * (s / max(SOFTCAP, 1e-30));
        }
        weights[row * PPITCH + four] = vec4<f16>(e);
        weights[GRADIENTS + row * PPITCH + four] = vec4<f16>(g);
    }
}

// The logarithm of the sum and the delta of one token of the tile from `start` on, which an invocation stages.
fn ends(head: u32, start: u32, index: u32) -> vec2<f32> {
    let place = head * p.tokens + min(start + index % KEYS, p.tokens - 1u);
    return vec2(lse[place] * LOG2E, delta[place]);
}

@compute @workgroup_size(WIDTH)
fn flash_attention_backward_kv_coop(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    let kv = group % (p.n_seqs * p.kv_heads);
    // The first positions are seen by most tokens: they go first.
    let first = group / (p.n_seqs * p.kv_heads) * ROWS;
    if first >= p.tokens {
        return;
    }
    let share = p.heads / p.kv_heads;
    let seq = kv / p.kv_heads;
    let k_begin = coop_rows_head(seq, p.heads + kv % p.kv_heads);
    let v_begin = coop_rows_head(seq, p.heads + kv % p.kv_heads + p.kv_heads);
    let head = kv % p.kv_heads * share; // the first of its query heads
    let second = KEYS * PITCH;
    let mine = index / 32u / SHARE * 16u; // first of the subgroup's rows
    let side = index / 32u % SHARE * 16u; // and of its columns, in vec4s
    let to = index / 32u * 16u * SPITCH;  // where its products go
    var k = coop_own_load(first, k_begin, index);
    var v = coop_own_load(first, v_begin, index);
    let tokens = min(p.tokens - first, min(p.window, p.tokens) + ROWS - 1u); // that see one of these positions
    let tiles = (tokens + KEYS - 1u) / KEYS;
    var q = coop_rows_fetch(first, coop_rows_head(seq, head), index);
    var d = coop_gradients_fetch(first, coop_gradients_head(seq, head), index);
    var end = ends(seq * p.heads + head, first, index);
    var d_k: Sums;
    var d_v: Sums;
    for (var step = 0u; step < share * tiles; step++) {
        workgroupBarrier();
        coop_stage_eights(q, 0u, index);
        coop_stage_eights(d, second, index);
        if index < KEYS {
            token_lse[index / 4u][index % 4u] = end.x;
            token_delta[index / 4u][index % 4u] = end.y;
        }
        workgroupBarrier();
        let next = min(step + 1u, share * tiles - 1u);
        let start = first + next % tiles * KEYS;
        q = coop_rows_fetch(start, coop_rows_head(seq, head + next / tiles), index);
        d = coop_gradients_fetch(start, coop_gradients_head(seq, head + next / tiles), index);
        end = ends(seq * p.heads + head + next / tiles, start, index);
        coop_pairs_products(&k, side, to);
        coop_pairs_products(&v, second + side, SECOND + to);
        workgroupBarrier();
        weigh(first, first + step % tiles * KEYS, index);
        workgroupBarrier();
        coop_pairs_sum(&d_v, mine * PPITCH, second + side);
        coop_pairs_sum(&d_k, GRADIENTS + mine * PPITCH, side);
    }
    coop_own_write(&d_k, first, k_begin, index, p.scale);
    coop_own_write(&d_v, first, v_begin, index, 1.0);
}
