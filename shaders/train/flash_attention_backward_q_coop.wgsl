// Computes: d_q = scale * sum_j g_j k_j and delta = sum(out * d_out), with g_j = slope_j * exp(s_j - lse) * (d_out . v_j - delta)
// over what a token sees, scores s_j as flash_attention_coop.wgsl has them, and slope_j = 1, or 1 - (s_j / SOFTCAP)^2
// Inputs: queries, keys and values, gradients of outputs, outputs, logarithms of sums
// Work split: one workgroup owns 64 tokens of one head, each of its 4 subgroups 16; of heads of more than 64 or 128 values it owns
// 32 or 16, and two or four subgroups share 16, each with 64 columns. It reads the keys once, 32 or 16 at a time
// Shapes: qkv and d_qkv [n_seqs, tokens, heads + 2 kv_heads, HEAD_DIM] f16 and f32; out [n_seqs, tokens, heads, HEAD_DIM] f32, or
// [n_seqs, tokens, 2, heads, HEAD_DIM / 2] of complex heads, d_out the same in f16; lse and delta [n_seqs, heads, tokens] f32
enable f16;
enable wgpu_int16;
enable wgpu_cooperative_matrix;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> qkv: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> d_out: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> out: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> lse: array<f32>;
@group(0) @binding(5) var<storage, read_write> delta: array<f32>;
@group(0) @binding(6) var<storage, read_write> d_qkv: array<vec4<f32>>;

override HEAD_DIM: u32;    // a multiple of 8
override HEAD: u32;        // 64, 128 or 256: with zeros behind it
override SOFTCAP: f32;     // of scores, times log2(e); 0: none
override SCORE_SCALE: f32; // of scores, times log2(e)

override SHARE = HEAD / 64u;              // subgroups that share their tokens
override ROWS = 64u / SHARE;              // tokens of a workgroup
override KEYS = 32u - HEAD / 256u * 16u;  // positions of a tile
override PITCH = HEAD / 4u + 2u;          // vec4s from row to row of the tile: HEAD halves and 8 more
override PASSES = min(HEAD / 32u, 4u);    // rows that an invocation stages of a tile

const WIDTH = 128u;
const SPITCH = 9u;    // vec4s from row to row of scores
const PPITCH = 10u;   // vec4s from row to row of weights
const SECOND = 576u;  // vec4s of half of the scores
const LOG2E = 1.44269504;

var<workgroup> tile: array<vec4<f16>, 2176>;   // keys [KEYS, PITCH], values [KEYS, PITCH]; first queries, then gradients
var<workgroup> scores: array<vec4<f32>, 1152>; // products with keys and with values, each [4 subgroups, 16, SPITCH]
var<workgroup> weights: array<vec4<f16>, 640>; // [ROWS, PPITCH]
var<workgroup> row_parts: array<f32, 128>;
var<workgroup> row_lse: array<f32, 64>;
var<workgroup> row_delta: array<f32, 64>;

// What a token has once: its delta, which other kernels read too, and its logarithm of the sum. Its gradient is staged.
fn prepare_rows(first: u32, head: u32, index: u32) {
    let lanes = WIDTH / ROWS;
    let row = index / lanes;
    let token = head / p.heads * p.tokens + min(first + row, p.tokens - 1u);
    let begin = token * p.heads * (HEAD_DIM / 4u) + head % p.heads * p.out_pitch;
    var sum = vec4(0.0);
    for (var four = index % lanes; four < HEAD_DIM / 4u; four += lanes) {
        let gap = select(0u, p.out_gap, four >= HEAD_DIM / 8u);
        sum += out[begin + four + gap] * vec4<f32>(tile[row * PITCH + four]);
    }
    row_parts[index] = (sum.x + sum.y) + (sum.z + sum.w);
    workgroupBarrier();
    if index < ROWS {
        var total = 0.0;
        for (var i = 0u; i < lanes; i++) {
            total += row_parts[index * lanes + i];
        }
        let place = head * p.tokens + first + index;
        row_delta[index] = total;
        row_lse[index] = lse[min(place, head * p.tokens + p.tokens - 1u)] * LOG2E;
        if first + index < p.tokens {
            delta[place] = total;
        }
    }
}

// gradients of the products of queries and keys, for the product with the keys
fn weigh(first: u32, start: u32, index: u32) {
    for (var i = index; i < ROWS * (KEYS / 4u); i += WIDTH) {
        let row = i / (KEYS / 4u);
        let four = i % (KEYS / 4u);
        let s = softcap_of(coop_pairs_four(0u, row, four) * SCORE_SCALE);
        let d = coop_pairs_four(1u, row, four);
        let token = vec4(first + row);
        let position = start + 4u * four + vec4(0u, 1u, 2u, 3u);
        let seen = (position <= token) & (token - position < vec4(p.window));
        var g = select(vec4(0.0), exp2(s - row_lse[row]), seen) * (d - row_delta[row]);
        if SOFTCAP > 0.0 {
            g *= 1.0 - (s / max(SOFTCAP, 1e-30)) * (s / max(SOFTCAP, 1e-30));
        }
        weights[row * PPITCH + four] = vec4<f16>(g);
    }
}

@compute @workgroup_size(WIDTH)
fn flash_attention_backward_q_coop(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    let heads = p.n_seqs * p.heads;
    let head = group % heads;
    let tiles = (p.tokens + ROWS - 1u) / ROWS;
    if group / heads >= tiles {
        return;
    }
    // The last tokens see most positions: they go first.
    let first = (tiles - 1u - group / heads) * ROWS;
    let seq = head / p.heads;
    let kv = p.heads + head % p.heads / (p.heads / p.kv_heads);
    let begins = vec3(coop_rows_head(seq, head % p.heads), coop_rows_head(seq, kv), coop_rows_head(seq, kv + p.kv_heads));
    let d_begin = coop_gradients_head(seq, head % p.heads);
    let second = KEYS * PITCH;
    let mine = index / 32u / SHARE * 16u; // first of the subgroup's rows
    let side = index / 32u % SHARE * 16u; // and of its columns, in vec4s
    let to = index / 32u * 16u * SPITCH;  // where its products go
    var q = coop_own_load(first, begins.x, index);
    workgroupBarrier();
    coop_stage_eights(coop_gradients_fetch(first, d_begin, index), 0u, index);
    if SHARE == 1u {
        coop_stage_eights(coop_gradients_fetch(first + KEYS, d_begin, index), second, index);
    }
    workgroupBarrier();
    var d = coop_pairs_load(mine * PITCH + side);
    prepare_rows(first, head, index);
    let begin = first + 1u - min(first + 1u, p.window);
    let end = min(first + ROWS, p.tokens);
    var k = coop_rows_fetch(begin, begins.y, index);
    var v = coop_rows_fetch(begin, begins.z, index);
    var sums: Sums;
    for (var start = begin; start < end; start += KEYS) {
        workgroupBarrier();
        coop_stage_eights(k, 0u, index);
        coop_stage_eights(v, second, index);
        workgroupBarrier();
        k = coop_rows_fetch(start + KEYS, begins.y, index);
        v = coop_rows_fetch(start + KEYS, begins.z, index);
        coop_pairs_products(&q, side, to);
        coop_pairs_products(&d, second + side, SECOND + to);
        workgroupBarrier();
        weigh(first, start, index);
        workgroupBarrier();
        coop_pairs_sum(&sums, mine * PPITCH, side);
    }
    coop_own_write(&sums, first, begins.x, index, p.scale);
}
