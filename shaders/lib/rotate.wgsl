// Rotation of heads, eight values an invocation. The kernel declares `qkv`, `angles`, p.kv_heads and LANES, the
// invocations of a head.
// Requires: angles, p, qkv, LANES
// Provides: Eight, rotate_angles, rotate_load, RotateNewest, rotate_load_newest, rotate

struct Eight {
    low: vec4<f32>,
    high: vec4<f32>,
}

// (cos, sin) for the eight values of an invocation
struct RotateAngles {
    low0: vec4<f32>,
    high0: vec4<f32>,
    low1: vec4<f32>,
    high1: vec4<f32>,
}

fn rotate_angles(position: u32, lane: u32) -> RotateAngles {
    let first = position * LANES;
    let i0 = 2u * (first + (2u * lane) % LANES);
    let i1 = 2u * (first + (2u * lane + 1u) % LANES);
    return RotateAngles(angles[i0], angles[i0 + 1u], angles[i1], angles[i1 + 1u]);
}

// an invocation's eight values of a head, and those half a head away
struct RotateHead {
    own: Eight,
    other: Eight,
}

fn rotate_load(base: u32, lane: u32) -> RotateHead {
    let i = 2u * lane;
    return RotateHead(
        Eight(qkv[base + i], qkv[base + i + 1u]),
        Eight(qkv[base + (i + LANES) % (2u * LANES)], qkv[base + (i + 1u + LANES) % (2u * LANES)]),
    );
}

// key, not yet rotated, and value of a new position
struct RotateNewest {
    k: RotateHead,
    v: Eight,
}

fn rotate_load_newest(k_head: u32, lane: u32) -> RotateNewest {
    let v = (k_head + p.kv_heads) * 2u * LANES + 2u * lane;
    return RotateNewest(rotate_load(k_head * 2u * LANES, lane), Eight(qkv[v], qkv[v + 1u]));
}

fn rotate(h: RotateHead, a: RotateAngles, lane: u32) -> Eight {
    let low = select(h.other.low, -h.other.low, 2u * lane < LANES);
    let high = select(h.other.high, -h.other.high, 2u * lane + 1u < LANES);
    return Eight(
        h.own.low * vec4(a.low0.xz, a.high0.xz) + low * vec4(a.low0.yw, a.high0.yw),
        h.own.high * vec4(a.low1.xz, a.high1.xz) + high * vec4(a.low1.yw, a.high1.yw),
    );
}
