// one token's attention, its q and k rotated and its k and v put into the caches on the way; the new position is not rounded
// one workgroup owns one range of positions of one head of one text; LANES invocations, 8 values each, share a position
// qkv [texts, heads + 2 kv_heads, head_dim]; table [context, head_dim / 2, 2]; caches [texts, context, kv_heads, head_dim]; out [texts, heads, head_dim], or with several ranges [texts, heads, splits, 2 + head_dim]

struct Params {
    heads: u32,
    kv_heads: u32,
    position: u32, // of the new token
    scale: f32,
    splits: u32,
    range: u32,    // positions per split, without the new one
    stride: u32,   // cache rows of a text
    offset: u32,   // rows of others before the first one in qkv, and in out with one range
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> table: array<vec4<f32>>; // (cos, sin) of two angles
@group(0) @binding(3) var<storage, read_write> k_cache: array<KvEight>;
@group(0) @binding(4) var<storage, read_write> v_cache: array<KvEight>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

override LANES: u32; // head_dim / 8
override EARLY: u32; // 1: all that is needed before the first position is requested together, which takes registers

const WIDTH = 256u;
const LEAST = -3e38;

override TEAMS = WIDTH / LANES;
override HEAD = 8u * LANES;

var<workgroup> ends: array<vec2<f32>, TEAMS>; // largest score, sum of weights
var<workgroup> values: array<f32, 2048>;      // [TEAMS, HEAD]

// sums over the LANES invocations of a position
fn lane_sums(part: vec4<f32>) -> vec4<f32> {
    var sum = part;
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        sum += subgroupShuffleXor(sum, step);
    }
    return sum;
}

// key, not yet rotated, and value of the new position
struct Newest {
    k: Turning,
    v: Eight,
}

fn load_newest(k_head: u32, lane: u32) -> Newest {
    let v = (k_head + p.kv_heads) * 2u * LANES + 2u * lane;
    return Newest(load_head(k_head * 2u * LANES, lane), Eight(qkv[v], qkv[v + 1u]));
}

// puts the teams together and writes the result
fn finish(index: u32, s: State, group: u32) {
    ends[index / LANES] = vec2(s.top, s.total);
    let to = index * 8u;
    for (var i = 0u; i < 4u; i++) {
        values[to + i] = s.low[i];
        values[to + 4u + i] = s.high[i];
    }
    workgroupBarrier();
    if index >= HEAD {
        return;
    }
    var top = ends[0].x;
    for (var i = 1u; i < TEAMS; i++) {
        top = max(top, ends[i].x);
    }
    var sums = vec2(0.0);
    for (var i = 0u; i < TEAMS; i++) {
        sums += exp(ends[i].x - top) * vec2(ends[i].y, values[i * HEAD + index]);
    }
    if p.splits == 1u {
        out[group * HEAD + index] = sums.y / sums.x;
        return;
    }
    let at = group * (2u + HEAD);
    out[at + 2u + index] = sums.y;
    if index == 0u {
        out[at] = select(top, 0.0, sums.x == 0.0);
        out[at + 1u] = sums.x;
    }
}

@compute @workgroup_size(WIDTH)
fn attention_step(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let group = wg.x + wg.y * nwg.x;
    let split = group % p.splits;
    let head = group / p.splits;
    if head >= p.heads {
        return;
    }
    let lane = index % LANES;
    let team = index / LANES;
    let kv = head / (p.heads / p.kv_heads);
    let base = (wg.z + p.offset) * (p.heads + 2u * p.kv_heads);
    let row = wg.z * p.stride;
    let angles = load_angles(lane);
    let q_head = load_head((base + head) * 2u * LANES, lane);
    let newest = split + 1u == p.splits && index < 32u;
    var n: Newest;
    if EARLY == 1u && newest {
        n = load_newest(base + p.heads + kv, lane);
    }
    var q = rotated(q_head, angles, lane);
    q.low *= p.scale;
    q.high *= p.scale;
    var s = State(LEAST, 0.0, vec4(0.0), vec4(0.0));
    if newest {
        // the new position; teams of the first subgroup come along for the sums, the first one counts
        if EARLY == 0u {
            n = load_newest(base + p.heads + kv, lane);
        }
        let k = rotated(n.k, angles, lane);
        let score = lane_sums(vec4(dot(q.low, k.low) + dot(q.high, k.high))).x;
        if team == 0u {
            s = State(score, 1.0, n.v.low, n.v.high);
            if head % (p.heads / p.kv_heads) == 0u {
                let at = ((row + p.position) * p.kv_heads + kv) * LANES + lane;
                k_cache[at] = kept_eight(k.low, k.high);
                v_cache[at] = kept_eight(s.low, s.high);
            }
        }
    }
    let begin = split * p.range;
    let end = min(begin + p.range, p.position);
    for (var t = begin; t < end; t += 4u * TEAMS) {
        s = four(s, q, t + team, end, row, kv * LANES + lane);
    }
    let before = select(wg.z, wg.z + p.offset, p.splits == 1u);
    finish(index, s, before * p.heads * p.splits + group);
}
