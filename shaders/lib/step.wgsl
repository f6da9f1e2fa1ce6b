// One token's attention to four positions at a time. Refers to the kernel's p, caches, LANES and TEAMS.

struct State {
    top: f32,
    total: f32,
    low: vec4<f32>,
    high: vec4<f32>,
}

// four positions, TEAMS apart, of which those before `end` count
fn four(s: State, q: Eight, first: u32, end: u32, row: u32, lane: u32) -> State {
    let t = min(first + TEAMS * vec4(0u, 1u, 2u, 3u), vec4(end - 1u));
    let at = (row + t) * p.kv_heads * LANES + lane;
    let k0 = k_cache[at.x];
    let k1 = k_cache[at.y];
    let k2 = k_cache[at.z];
    let k3 = k_cache[at.w];
    let v0 = v_cache[at.x];
    let v1 = v_cache[at.y];
    let v2 = v_cache[at.z];
    let v3 = v_cache[at.w];
    let scores = select(vec4(LEAST), lane_sums(vec4(
        dot(q.low, low_of(k0)) + dot(q.high, high_of(k0)),
        dot(q.low, low_of(k1)) + dot(q.high, high_of(k1)),
        dot(q.low, low_of(k2)) + dot(q.high, high_of(k2)),
        dot(q.low, low_of(k3)) + dot(q.high, high_of(k3)),
    )), first + TEAMS * vec4(0u, 1u, 2u, 3u) < vec4(end));
    let top = max(max(s.top, max(scores.x, scores.y)), max(scores.z, scores.w));
    let keep = exp(s.top - top);
    let e = select(vec4(0.0), exp(scores - top), scores > vec4(LEAST));
    return State(
        top,
        s.total * keep + (e.x + e.y) + (e.z + e.w),
        s.low * keep + (e.x * low_of(v0) + e.y * low_of(v1)) + (e.z * low_of(v2) + e.w * low_of(v3)),
        s.high * keep + (e.x * high_of(v0) + e.y * high_of(v1)) + (e.z * high_of(v2) + e.w * high_of(v3)),
    );
}
