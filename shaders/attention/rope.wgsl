// Computes: q = rotate(q), in place; k_cache = rotate(k) and v_cache = v at each token's slot and position, where rotate
// maps each pair (a, b) of the first `width` values of a head to (a cos - b sin, b cos + a sin) by the angle of the position
// Inputs: angles [context, width / 2, 2] f32 of (cos, sin); rows [tokens, 2] u32 of (slot, position)
// Work split: one invocation owns one pair of q, or two neighbouring values of k or v
// Shapes: qkv [tokens, heads + 2 kv_heads, head_dim] f32; caches [slots, capacity, kv_heads, head_dim] f32 or f16

struct Params {
    tokens: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    width: u32,       // rotated values of a head
    capacity: u32,    // positions of a slot
    half_cached: u32, // 1: the caches hold f16
    offset: u32,      // row of qkv that holds token 0
    table: u32,       // 0: a run of one slot; 1: rows says where each token stands
    row: u32,
    slot: u32,
    position: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> angles: array<f32>;
@group(0) @binding(3) var<storage, read> rows: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> k_cache: array<u32>;
@group(0) @binding(5) var<storage, read_write> v_cache: array<u32>;

override NEIGHBOURS: bool; // pairs are values 2 j and 2 j + 1, not j and j + width / 2
override RING: bool;       // some position lies beyond the capacity

const WIDTH = 256u;

// value `j`, below `width`, of the head that begins at `base`, rotated by the angles that begin at `row`
fn rotated(base: u32, row: u32, j: u32) -> f32 {
    let half = p.width / 2u;
    let first = select(j < half, j % 2u == 0u, NEIGHBOURS);
    let step = select(half, 1u, NEIGHBOURS);
    let other = qkv[base + select(j - step, j + step, first)];
    let angle = row + 2u * select(select(j - half, j, first), j / 2u, NEIGHBOURS);
    return qkv[base + j] * angles[angle] + select(other, -other, first) * angles[angle + 1u];
}

// rotates pair `j` of the head that begins at `base`
fn rotate_pair(base: u32, row: u32, j: u32) {
    let first = base + select(j, 2u * j, NEIGHBOURS);
    let second = first + select(p.width / 2u, 1u, NEIGHBOURS);
    let pair = vec2(qkv[first], qkv[second]);
    let by = vec2(angles[row + 2u * j], angles[row + 2u * j + 1u]);
    qkv[first] = pair.x * by.x - pair.y * by.y;
    qkv[second] = pair.y * by.x + pair.x * by.y;
}

// writes two neighbouring values, the first of which is value `dst` of a cache
fn write_cached(values: bool, dst: u32, pair: vec2<f32>) {
    var words = bitcast<vec2<u32>>(pair);
    var at = dst;
    if p.half_cached == 1u {
        words = vec2(pack2x16float(pair));
        at /= 2u;
    }
    if values {
        v_cache[at] = words.x;
    } else {
        k_cache[at] = words.x;
    }
    if p.half_cached == 0u {
        if values {
            v_cache[at + 1u] = words.y;
        } else {
            k_cache[at + 1u] = words.y;
        }
    }
}

@compute @workgroup_size(WIDTH)
fn rope(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let pairs = p.head_dim / 2u;
    let all_heads = p.heads + 2u * p.kv_heads;
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if i >= p.tokens * all_heads * pairs {
        return;
    }
    let j = i % pairs;
    let head = (i / pairs) % all_heads; // of q, then of k, then of v
    let token = i / pairs / all_heads;
    let place = row_table_place(token);
    let base = ((p.offset + token) * all_heads + head) * p.head_dim;
    let row = place.y * p.width;
    if head < p.heads {
        if 2u * j < p.width {
            rotate_pair(base, row, j);
        }
        return;
    }
    let kv = (head - p.heads) % p.kv_heads;
    let dst = ((place.x * p.capacity + ring_place(place.y, ring_lap(place.y))) * p.kv_heads + kv) * p.head_dim + 2u * j;
    let is_key = head < p.heads + p.kv_heads;
    var pair = vec2(qkv[base + 2u * j], qkv[base + 2u * j + 1u]);
    if is_key & (2u * j < p.width) {
        pair = vec2(rotated(base, row, 2u * j), rotated(base, row, 2u * j + 1u));
    }
    write_cached(!is_key, dst, pair);
}
