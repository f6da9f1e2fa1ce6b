// (a, b) = (a cos - b sin, b cos + a sin) for the pairs (j, j + head_dim / 2) of q and k; k and v enter the caches
// one invocation owns one pair of q, k or v
// qkv [rows, heads + 2 kv_heads, head_dim] f32; table [context, head_dim / 2, 2] f32; caches [context, kv_heads, head_dim] f32

struct Params {
    rows: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    position: u32, // of row 0
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read_write> k_cache: array<f32>;
@group(0) @binding(4) var<storage, read_write> v_cache: array<f32>;

const WIDTH = 256u;

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
    let at = (row * slots + slot) * p.head_dim + j;
    let pair = vec2(qkv[at], qkv[at + half]);
    let angle = 2u * ((p.position + row) * half + j);
    let turn = vec2(table[angle], table[angle + 1u]);
    let turned = vec2(
        pair.x * turn.x - pair.y * turn.y,
        pair.y * turn.x + pair.x * turn.y,
    );
    if slot < p.heads {
        qkv[at] = turned.x;
        qkv[at + half] = turned.y;
        return;
    }
    let kv = (slot - p.heads) % p.kv_heads;
    let to = ((p.position + row) * p.kv_heads + kv) * p.head_dim + j;
    if slot < p.heads + p.kv_heads {
        k_cache[to] = turned.x;
        k_cache[to + half] = turned.y;
    } else {
        v_cache[to] = pair.x;
        v_cache[to + half] = pair.y;
    }
}
