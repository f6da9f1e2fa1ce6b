// One token's attention to four positions at a time. Refers to the kernel's p, caches, LANES and TEAMS.

struct State {
    top: f32,
    total: f32,
    low: vec4<f32>,
    high: vec4<f32>,
}

// keys and values of four positions
struct Four {
    k0: KvEight,
    k1: KvEight,
    k2: KvEight,
    k3: KvEight,
    v0: KvEight,
    v1: KvEight,
    v2: KvEight,
    v3: KvEight,
}

// four positions, TEAMS apart; those from `end` on are read elsewhere in the range, and not counted
fn load_four(first: u32, end: u32, row: u32, lane: u32) -> Four {
    let t = min(first + TEAMS * vec4(0u, 1u, 2u, 3u), vec4(max(end, 1u) - 1u));
    let at = (row + t) * p.kv_heads * LANES + lane;
    return Four(
        k_cache[at.x],
        k_cache[at.y],
        k_cache[at.z],
        k_cache[at.w],
        v_cache[at.x],
        v_cache[at.y],
        v_cache[at.z],
        v_cache[at.w],
    );
}

// keeps the loads of `next` before what is made of `now`, as in gemv_rows.wgsl: positions lie within a text's rows
fn hold(now: Four, next: Four) -> Four {
    var r = now;
    for (var i = p.stride; i < p.position; i++) {
        ends[0].x += low_of(next.k0).x + low_of(next.k1).x + low_of(next.k2).x + low_of(next.k3).x;
        r = next;
    }
    return r;
}

// four positions, TEAMS apart, of which those before `end` count
fn add_four(s: State, q: Eight, kv: Four, first: u32, end: u32) -> State {
    let scores = select(vec4(LEAST), lane_sums(vec4(
        dot(q.low, low_of(kv.k0)) + dot(q.high, high_of(kv.k0)),
        dot(q.low, low_of(kv.k1)) + dot(q.high, high_of(kv.k1)),
        dot(q.low, low_of(kv.k2)) + dot(q.high, high_of(kv.k2)),
        dot(q.low, low_of(kv.k3)) + dot(q.high, high_of(kv.k3)),
    )), first + TEAMS * vec4(0u, 1u, 2u, 3u) < vec4(end));
    let top = max(max(s.top, max(scores.x, scores.y)), max(scores.z, scores.w));
    let keep = exp(s.top - top);
    let e = select(vec4(0.0), exp(scores - top), scores > vec4(LEAST));
    return State(
        top,
        s.total * keep + (e.x + e.y) + (e.z + e.w),
        s.low * keep + (e.x * low_of(kv.v0) + e.y * low_of(kv.v1)) + (e.z * low_of(kv.v2) + e.w * low_of(kv.v3)),
        s.high * keep + (e.x * high_of(kv.v0) + e.y * high_of(kv.v1)) + (e.z * high_of(kv.v2) + e.w * high_of(kv.v3)),
    );
}
