// out = sum_t softmax_t(q . k_t / sqrt(head_dim)) v_t over positions t = 0..=position + row, by cooperative matrices
// one workgroup owns 128 rows of one head, each of its 8 subgroups 16; keys are gone through once, 32 at a time
// qkv [rows, heads + 2 kv_heads, HEAD] f32; caches [context, kv_heads, HEAD] f16; out [rows, heads, HEAD] f32
enable f16;
enable wgpu_int16;
enable wgpu_cooperative_matrix;

struct Params {
    rows: u32,
    heads: u32,
    kv_heads: u32,
    position: u32, // of row 0
    scale: f32,    // of scores, times log2(e)
    first: u32,    // cache row of position 0
    offset: u32,   // row of qkv and out that row 0 is
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> k_cache: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> v_cache: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;

override HEAD: u32; // 64 or 128

const WIDTH = 256u;
const ROWS = 128u;
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

// keys and values that an invocation stages: a piece of eight of one position, and of another 16 further on
struct Staged {
    k0: vec4<u32>,
    k1: vec4<u32>,
    v0: vec4<u32>,
    v1: vec4<u32>,
}

// those of positions from `start` on; beyond the last known position the last one again
fn fetch(start: u32, kv: u32, index: u32) -> Staged {
    let pieces = HEAD / 8u;
    let last = p.position + p.rows - 1u;
    let t = start + index / pieces;
    let near = ((p.first + min(t, last)) * p.kv_heads + kv) * pieces + index % pieces;
    let far = ((p.first + min(t + 16u, last)) * p.kv_heads + kv) * pieces + index % pieces;
    return Staged(k_cache[near], k_cache[far], v_cache[near], v_cache[far]);
}

fn put(at: u32, v: vec4<u32>) {
    tile[at] = quad(v.x, v.y);
    tile[at + 1u] = quad(v.z, v.w);
}

fn stage(s: Staged, index: u32) {
    let pieces = HEAD / 8u;
    let at = index / pieces * PITCH + index % pieces * 2u;
    put(at, s.k0);
    put(at + VALUES, s.v0);
    if HEAD == 128u {
        put(at + 16u * PITCH, s.k1);
        put(at + 16u * PITCH + VALUES, s.v1);
    }
}

// 32 columns of the queries, scaled, where weights will lie later
fn stage_queries(first_row: u32, head: u32, index: u32, column: u32) {
    workgroupBarrier();
    for (var i = index; i < ROWS * 8u; i += WIDTH) {
        let row = min(first_row + i / 8u, p.rows - 1u);
        let at = ((p.offset + row) * (p.heads + 2u * p.kv_heads) + head) * HEAD + column;
        weights[i / 8u * PPITCH + i % 8u] = vec4<f16>(qkv[at / 4u + i % 8u] * p.scale);
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
    let tiles = (p.rows + ROWS - 1u) / ROWS;
    if group / p.heads >= tiles {
        return;
    }
    // the last rows see most positions: they go first
    let first_row = (tiles - 1u - group / p.heads) * ROWS;
    let kv = head / (p.heads / p.kv_heads);
    let mine = index / 32u * 16u; // first of the subgroup's 16 rows
    let part = index / 16u % 2u;  // of 16 scores, for row index % 16
    let at = (mine + index % 16u) * SPITCH + part * 4u;
    let row = first_row + mine + index % 16u;
    let known = p.position + min(row, p.rows - 1u) + 1u; // positions this row sees
    let end = p.position + min(first_row + ROWS, p.rows);
    var staged = fetch(0u, kv, index);
    var q = queries(first_row, head, index);
    var o: Sums;
    var total = 0.0;
    var reference = 0.0;
    for (var start = 0u; start < end; start += KEYS) {
        workgroupBarrier();
        stage(staged, index);
        workgroupBarrier();
        staged = fetch(start + KEYS, kv, index);
        score(&q, mine);
        workgroupBarrier();
        let s = seen(at, max(known, start + part * 16u) - start - part * 16u);
        let top = largest(s);
        // weights refer to the largest score of the first tile until they would become too large
        reference = select(reference, top, start == 0u);
        if any_grows(top > reference + 8.0, index) {
            let next = max(reference, top);
            let factor = exp2(reference - next);
            rescale(&o, mine, at, factor);
            total *= factor;
            reference = next;
        }
        total += weigh(s, (mine + index % 16u) * PPITCH + part * 4u, reference);
        workgroupBarrier();
        add_values(&o, mine);
    }
    total += subgroupShuffleXor(total, 16u);
    let to = (((p.offset + row) * p.heads + head) * HEAD) / 4u + part * 4u;
    write_out(&o, mine, at, to, 1.0 / total, row < p.rows);
}
