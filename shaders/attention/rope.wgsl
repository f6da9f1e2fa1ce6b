// Computes: q = rotate(q), in place; k_cache = rotate(k) and v_cache = v at each token's slot and position, where rotate
// maps the pair (a, b) of values j and j + head_dim / 2 to (a cos - b sin, b cos + a sin) by the angle of the position
// Inputs: table [context, head_dim / 2, 2] f32 of (cos, sin); rows [tokens, 2] u32 of (slot, position)
// Work split: one invocation owns one pair of q, k or v
// Shapes: qkv [tokens, heads + 2 kv_heads, head_dim] f32; caches [slots, capacity, kv_heads, head_dim] f32 or f16

struct Params {
    tokens: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
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

const WIDTH = 256u;

// the pair whose first value is at `index`, rotated by the angle whose (cos, sin) are at `angle`
fn rotated(index: u32, angle: u32) -> vec2<f32> {
    let half = p.head_dim / 2u;
    let pair = vec2(qkv[index], qkv[index + half]);
    let by = vec2(angles[angle], angles[angle + 1u]);
    return vec2(pair.x * by.x - pair.y * by.y, pair.y * by.x + pair.x * by.y);
}

// Writes pair j of a head, `now`, whose first value is value `dst` of a cache. A word holds two f16 values; so there the
// invocations of even j also write `next`, which is pair j + 1, and those of odd j write nothing.
fn write_cached(values: bool, dst: u32, j: u32, now: vec2<f32>, next: vec2<f32>) {
    let half = p.head_dim / 2u;
    var words = bitcast<vec2<u32>>(now);
    var at = vec2(dst, dst + half);
    if p.half_cached == 1u {
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
    let all_heads = p.heads + 2u * p.kv_heads;
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if i >= p.tokens * all_heads * half {
        return;
    }
    let j = i % half;
    let head = (i / half) % all_heads; // of q, then of k, then of v
    let token = i / half / all_heads;
    let place = row_table_place(token);
    let index = ((p.offset + token) * all_heads + head) * p.head_dim + j;
    let angle = 2u * (place.y * half + j);
    if head < p.heads {
        let q = rotated(index, angle);
        qkv[index] = q.x;
        qkv[index + half] = q.y;
        return;
    }
    let kv = (head - p.heads) % p.kv_heads;
    let dst = ((place.x * p.capacity + place.y) * p.kv_heads + kv) * p.head_dim + j;
    let next = min(j + 1u, half - 1u) - j;
    if head < p.heads + p.kv_heads {
        write_cached(false, dst, j, rotated(index, angle), rotated(index + next, angle + 2u * next));
    } else {
        let after = index + next;
        write_cached(true, dst, j, vec2(qkv[index], qkv[index + half]), vec2(qkv[after], qkv[after + half]));
    }
}
