// Computes: attention of the next token of each sequence: heads of q and k are normalized (NORMED) and rotated, k and v
// enter the caches, and q attends to the last `window` positions up to its own, whose k and v it takes before they are rounded
// Inputs: angles [context, 4 ROTATED, 2] f32 of (cos, sin); rows [tokens, 2] u32 of (slot, position); norms' weights [head_dim]
// Work split: one workgroup owns one range of positions of one head of one token; LANES invocations of a team, 8 values each,
// share a position, and TEAMS positions go on together
// Shapes: qkv [tokens, heads + 2 kv_heads, head_dim] f32; caches [slots, capacity, kv_heads, head_dim] f32 or f16;
// out [tokens, heads, head_dim] f32, or with several ranges [tokens, heads, splits, 2 + head_dim], each (max, sum, values)

struct Params {
    heads: u32,
    kv_heads: u32,
    capacity: u32, // positions of a slot, which is a ring
    scale: f32,
    eps: f32,      // of the norms
    window: u32,   // positions that a token sees at most
    out_pitch: u32, // of out with one range: from head to head
    out_gap: u32,   // and between the halves of a head, which lie apart if they are complex
    offset: u32,   // row of qkv, and with one range of out, that holds token 0
    splits: u32,   // ranges of the token that sees most positions
    range: u32,    // positions of a range without the new one, of one token alone
    least: u32,    // positions that a range has at least, in a table
    table: u32,    // 0: one token alone; 1: rows says where each token stands
    row: u32,
    slot: u32,
    position: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> angles: array<vec4<f32>>; // (cos, sin) of two angles
@group(0) @binding(3) var<storage, read> rows: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> k_cache: array<KvEight>;
@group(0) @binding(5) var<storage, read_write> v_cache: array<KvEight>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
@group(0) @binding(7) var<storage, read> q_weight: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read> k_weight: array<vec4<f32>>;

override LANES: u32; // head_dim / 8
override TEAM: u32;  // LANES, or the next power of two: invocations beyond LANES add zeros
override ROTATED: u32;     // rotated values of a head / 8; 0: none
override NEIGHBOURS: bool; // pairs are values 2 j and 2 j + 1, not values half of those rotated apart
override NORMED: bool;     // heads are normalized
override SOFTCAP: f32;     // of scores; 0: none
override RING: bool;       // some position lies beyond the capacity
override EARLY: u32; // 1: everything that precedes the first position is requested together, which takes registers
const WIDTH = 256u;
const LEAST = -3e38;
override TEAMS = WIDTH / TEAM;
override HEAD = 8u * LANES;

var<workgroup> team_states: array<vec2<f32>, TEAMS>; // (largest score, sum of weights)
var<workgroup> team_values: array<f32, 2048>;        // [TEAMS, HEAD]

// (ranges, positions of each) of a token that sees `before` positions before its own, which is cut as if it were alone
fn ranges_of(before: u32) -> vec2<u32> {
    if p.table == 0u {
        return vec2(p.splits, p.range);
    }
    let splits = clamp(before / p.least, 1u, p.splits);
    return vec2(splits, max((before + splits - 1u) / splits, 1u));
}

// puts the teams together and writes the result: that of range `part`, counted over all heads, of row `row`
fn finish(index: u32, s: AttendState, row: u32, part: u32) {
    team_states[index / TEAM] = vec2(s.top, s.total);
    if index % TEAM < LANES {
        let first = index / TEAM * HEAD + index % TEAM * 8u;
        for (var i = 0u; i < 4u; i++) {
            team_values[first + i] = s.low[i];
            team_values[first + 4u + i] = s.high[i];
        }
    }
    workgroupBarrier();
    if index >= HEAD {
        return;
    }
    var top = team_states[0].x;
    for (var i = 1u; i < TEAMS; i++) {
        top = max(top, team_states[i].x);
    }
    var sums = vec2(0.0);
    for (var i = 0u; i < TEAMS; i++) {
        sums += exp(team_states[i].x - top) * vec2(team_states[i].y, team_values[i * HEAD + index]);
    }
    if p.splits == 1u {
        let dst = row * p.heads * HEAD + part * p.out_pitch + index;
        out[dst + select(0u, p.out_gap, index >= HEAD / 2u)] = sums.y / sums.x;
        return;
    }
    let dst = (row * p.heads * p.splits + part) * (2u + HEAD);
    out[dst + 2u + index] = sums.y;
    if index == 0u {
        out[dst] = select(top, 0.0, sums.x == 0.0);
        out[dst + 1u] = sums.x;
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
    let lane = min(index % TEAM, LANES - 1u);
    let kv = head / (p.heads / p.kv_heads);
    let base = (wg.z + p.offset) * (p.heads + 2u * p.kv_heads);
    let place = row_table_place(wg.z);
    let before = min(place.y, p.window - 1u);
    let slot = vec2(place.x * p.capacity, ring_lap(place.y - before));
    let ranges = ranges_of(before);
    let angle = rotate_angles(place.y, lane);
    let q_head = rotate_load((base + head) * 2u * LANES, lane);
    let newest = split + 1u == ranges.x && index < 32u;
    var n: RotateNewest;
    if EARLY == 1u && newest {
        n = rotate_load_newest(base + p.heads + kv, lane);
    }
    let rotated = rotate(rotate_normed(q_head, index, lane, false), angle, lane);
    let scale = select(0.0, p.scale, index % TEAM < LANES);
    let q = Eight(rotated.low * scale, rotated.high * scale);
    var s = AttendState(LEAST, 0.0, vec4(0.0), vec4(0.0));
    if newest {
        // Of the new position the first team's result counts; the other teams of the first subgroup come along for the sums.
        if EARLY == 0u {
            n = rotate_load_newest(base + p.heads + kv, lane);
        }
        let k = rotate(rotate_normed(n.k, index, lane, true), angle, lane);
        let score = softcap_of(attend_lane_sums(vec4(dot(q.low, k.low) + dot(q.high, k.high)))).x;
        if index < TEAM {
            s = AttendState(score, 1.0, n.v.low, n.v.high);
            if head % (p.heads / p.kv_heads) == 0u && index < LANES {
                let dst = ((slot.x + ring_place(place.y, slot.y)) * p.kv_heads + kv) * LANES + lane;
                k_cache[dst] = kv_eight(k.low, k.high);
                v_cache[dst] = kv_eight(s.low, s.high);
            }
        }
    }
    let begin = place.y - before + split * ranges.y;
    let end = min(begin + ranges.y, place.y);
    for (var t = begin; t < end; t += 4u * TEAMS) {
        s = attend_four(s, q, t + index / TEAM, end, slot, kv * LANES + lane);
    }
    finish(index, s, select(wg.z, wg.z + p.offset, p.splits == 1u), group);
}
