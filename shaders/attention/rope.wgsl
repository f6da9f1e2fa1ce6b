// (a, b) = (a cos - b sin, b cos + a sin) for the pairs (j, j + head_dim / 2) of q and k; k and v enter the caches
// one invocation owns one pair of q, k or v
// qkv [rows, heads + 2 kv_heads, head_dim] f32; table [context, head_dim / 2, 2] f32; caches [context, kv_heads, head_dim] f32

struct Params {
    rows: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    position: u32, // of row 0
    first: u32,    // cache row of position 0
    half_kept: u32, // keys and values are kept in half precision
    offset: u32,    // row of qkv that row 0 is
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read_write> k_cache: array<u32>;
@group(0) @binding(4) var<storage, read_write> v_cache: array<u32>;

const WIDTH = 256u;

fn turned(at: u32, angle: u32) -> vec2<f32> {
    let half = p.head_dim / 2u;
    let pair = vec2(qkv[at], qkv[at + half]);
    let turn = vec2(table[angle], table[angle + 1u]);
    return vec2(pair.x * turn.x - pair.y * turn.y, pair.y * turn.x + pair.x * turn.y);
}

// value j of the two halves of a head, `now`, and j + 1, `next`, for the cache at value `to`
fn keep(values: bool, to: u32, j: u32, now: vec2<f32>, next: vec2<f32>) {
    let half = p.head_dim / 2u;
    var words = bitcast<vec2<u32>>(now);
    var at = vec2(to, to + half);
    if p.half_kept == 1u {
        words = vec2(pack2x16float(vec2(now.x, next.x)), pack2x16float(vec2(now.y, next.y)));
        at /= 2u;
        if j % 2u == 1u {
            return;
        }
    }
    if values {
        v_cache[at.x] = words.x;
        v_cache[at.y] = words.y;
    } else {
        k_cache[at.x] = words.x;
        k_cache[at.y] = words.y;
    }
}

@compute @workgroup_size(WIDTH)
fn rope(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let half = p.head_dim / 2u;
    let slots = p.heads + 2u * p.kv_heads;
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if i >= p.rows * slots * half {
        return;
    }
    let j = i % half;
    let slot = (i / half) % slots; // heads of q, then of k, then of v
    let row = i / half / slots;
    let at = ((p.offset + row) * slots + slot) * p.head_dim + j;
    let angle = 2u * ((p.position + row) * half + j);
    if slot < p.heads {
        let q = turned(at, angle);
        qkv[at] = q.x;
        qkv[at + half] = q.y;
        return;
    }
    let kv = (slot - p.heads) % p.kv_heads;
    let to = ((p.first + p.position + row) * p.kv_heads + kv) * p.head_dim + j;
    let next = min(j + 1u, half - 1u);
    if slot < p.heads + p.kv_heads {
        keep(false, to, j, turned(at, angle), turned(at + next - j, angle + 2u * (next - j)));
    } else {
        let after = at + next - j;
        keep(true, to, j, vec2(qkv[at], qkv[at + half]), vec2(qkv[after], qkv[after + half]));
    }
}
