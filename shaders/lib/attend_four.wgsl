// One token's attention to four positions at a time. The kernel declares `k_cache`, `v_cache` and p.kv_heads; LANES, the
// invocations that share a position; TEAM, a power of two that they are the first of; TEAMS, the positions that a workgroup
// has at once; and LEAST, a score below all others; and the override SOFTCAP.
// Requires: k_cache, kv_high, kv_low, p, ring_places, softcap_of, v_cache, Eight, LANES, LEAST, TEAM, TEAMS
// Provides: attend_lane_sums, AttendState, attend_four

// sums over the invocations of a team
fn attend_lane_sums(partial: vec4<f32>) -> vec4<f32> {
    var sum = partial;
    for (var step = TEAM / 2u; step > 0u; step /= 2u) {
        sum += subgroupShuffleXor(sum, step);
    }
    return sum;
}

// largest score so far, and the sums of the weights exp(score - top) and of an invocation's eight weighted values
struct AttendState {
    top: f32,
    total: f32,
    low: vec4<f32>,
    high: vec4<f32>,
}

// Adds the four positions from `first` on, TEAMS apart, as far as they are before `end`. `slot` is the first cache row of the
// slot and the lap of the ring that it is, `lane` the index of the invocation's eight values in a cache row.
fn attend_four(s: AttendState, q: Eight, first: u32, end: u32, slot: vec2<u32>, lane: u32) -> AttendState {
    let t = min(first + TEAMS * vec4(0u, 1u, 2u, 3u), vec4(end - 1u));
    let i = (slot.x + ring_places(t, slot.y)) * p.kv_heads * LANES + lane;
    let k0 = k_cache[i.x];
    let k1 = k_cache[i.y];
    let k2 = k_cache[i.z];
    let k3 = k_cache[i.w];
    let v0 = v_cache[i.x];
    let v1 = v_cache[i.y];
    let v2 = v_cache[i.z];
    let v3 = v_cache[i.w];
    let scores = select(vec4(LEAST), softcap_of(attend_lane_sums(vec4(
        dot(q.low, kv_low(k0)) + dot(q.high, kv_high(k0)),
        dot(q.low, kv_low(k1)) + dot(q.high, kv_high(k1)),
        dot(q.low, kv_low(k2)) + dot(q.high, kv_high(k2)),
        dot(q.low, kv_low(k3)) + dot(q.high, kv_high(k3)),
    ))), first + TEAMS * vec4(0u, 1u, 2u, 3u) < vec4(end));
    let top = max(max(s.top, max(scores.x, scores.y)), max(scores.z, scores.w));
    let keep = exp(s.top - top);
    let e = select(vec4(0.0), exp(scores - top), scores > vec4(LEAST));
    return AttendState(
        top,
        s.total * keep + (e.x + e.y) + (e.z + e.w),
        s.low * keep + (e.x * kv_low(v0) + e.y * kv_low(v1)) + (e.z * kv_low(v2) + e.w * kv_low(v3)),
        s.high * keep + (e.x * kv_high(v0) + e.y * kv_high(v1)) + (e.z * kv_high(v2) + e.w * kv_high(v3)),
    );
}
