// out = sum_t softmax_t(q . k_t / sqrt(head_dim)) v_t over positions t = 0..=position + row, by cooperative matrices
// one workgroup owns 64 rows of one head, each of its 4 subgroups 16; keys are gone through twice: first for the largest score
// qkv [rows, heads + 2 kv_heads, HEAD] f32; caches [context, kv_heads, HEAD] f16; out [rows, heads, HEAD] f32
enable f16;
enable wgpu_cooperative_matrix;

struct Params {
    rows: u32,
    heads: u32,
    kv_heads: u32,
    position: u32, // of row 0
    scale: f32,
    first: u32,    // cache row of position 0
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> k_cache: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> v_cache: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

override HEAD: u32; // 64 or 128

const WIDTH = 128u;
const KEYS = 64u;   // positions of a tile
const PITCH = 34u;  // vec4s from row to row of keys, values and queries: 128 halves and 8 more
const SPITCH = 68u; // from row to row of scores
const PPITCH = 18u; // vec4s from row to row of weights

var<workgroup> keys: array<vec4<f16>, 2176>;   // [64, PITCH]
var<workgroup> scores: array<f32, 4352>;       // [4 subgroups, 16, SPITCH]
var<workgroup> weights: array<vec4<f16>, 1152>; // [4 subgroups, 16, PPITCH]

fn halves(words: vec2<u32>) -> vec4<f16> {
    return vec4<f16>(vec4(unpack2x16float(words.x), unpack2x16float(words.y)));
}

// stages keys or values of positions from `start` on; beyond the last known position the last one again
fn stage(values: bool, start: u32, kv: u32, index: u32) {
    let pieces = HEAD / 8u;
    let last = p.position + p.rows - 1u;
    for (var i = index; i < KEYS * pieces; i += WIDTH) {
        let t = p.first + min(start + i / pieces, last);
        let source = (t * p.kv_heads + kv) * pieces + i % pieces;
        var words: vec4<u32>;
        if values {
            words = v_cache[source];
        } else {
            words = k_cache[source];
        }
        let to = i / pieces * PITCH + i % pieces * 2u;
        keys[to] = halves(words.xy);
        keys[to + 1u] = halves(words.zw);
    }
}

// the 64 queries, scaled, where keys will lie later
fn stage_queries(first_row: u32, head: u32, index: u32) {
    let fours = HEAD / 4u;
    for (var i = index; i < 64u * fours; i += WIDTH) {
        let row = min(first_row + i / fours, p.rows - 1u);
        let at = (row * (p.heads + 2u * p.kv_heads) + head) * fours + i % fours;
        keys[i / fours * PITCH + i % fours] = vec4<f16>(qkv[at] * p.scale);
    }
}

@compute @workgroup_size(WIDTH)
fn attention_coop(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    let head = group % p.heads;
    let first_row = group / p.heads * 64u;
    if first_row >= p.rows {
        return;
    }
    let kv = head / (p.heads / p.kv_heads);
    let mine = index / 32u * 16u; // first of the subgroup's 16 rows
    let lane_row = mine + index % 32u / 2u;
    let part = index % 2u * 32u;
    let at = lane_row * SPITCH + part;
    let row = first_row + lane_row;
    let known = p.position + min(row, p.rows - 1u) + 1u; // positions this row sees
    let end = p.position + min(first_row + 64u, p.rows);
    stage_queries(first_row, head, index);
    workgroupBarrier();
    var q: array<coop_mat16x16<f16, A>, 8>;
    for (var d = 0u; d < HEAD / 16u; d++) {
        q[d] = coopLoadT<coop_mat16x16<f16, A>>(&keys[mine * PITCH + d * 4u], PITCH);
    }
    var top = -3e38;
    for (var start = 0u; start < end; start += KEYS) {
        workgroupBarrier();
        stage(false, start, kv, index);
        workgroupBarrier();
        score(&q, mine);
        workgroupBarrier();
        top = max(top, largest(at, max(known, start + part) - start - part));
    }
    top = max(top, subgroupShuffleXor(top, 1u));
    var o: array<coop_mat16x16<f32, C>, 8>;
    var total = 0.0;
    for (var start = 0u; start < end; start += KEYS) {
        workgroupBarrier();
        stage(false, start, kv, index);
        workgroupBarrier();
        score(&q, mine);
        workgroupBarrier();
        let seen = max(known, start + part) - start - part;
        total += weigh(at, lane_row * PPITCH + part / 4u, seen, top);
        stage(true, start, kv, index);
        workgroupBarrier();
        add_values(&o, mine);
    }
    total += subgroupShuffleXor(total, 1u);
    write_out(&o, mine, at, (row * p.heads + head) * HEAD + part, total, row < p.rows);
}
