// Rotation of heads, eight values an invocation. Refers to the kernel's p, qkv, table and LANES.

struct Eight {
    low: vec4<f32>,
    high: vec4<f32>,
}

// (cos, sin) for the eight values of an invocation
struct Angles {
    low0: vec4<f32>,
    high0: vec4<f32>,
    low1: vec4<f32>,
    high1: vec4<f32>,
}

fn load_angles(lane: u32) -> Angles {
    let at = p.position * LANES;
    let i0 = 2u * (at + (2u * lane) % LANES);
    let i1 = 2u * (at + (2u * lane + 1u) % LANES);
    return Angles(table[i0], table[i0 + 1u], table[i1], table[i1 + 1u]);
}

// an invocation's eight values of a head, and those half a head away
struct Turning {
    own: Eight,
    other: Eight,
}

fn load_head(base: u32, lane: u32) -> Turning {
    let i = 2u * lane;
    return Turning(
        Eight(qkv[base + i], qkv[base + i + 1u]),
        Eight(qkv[base + (i + LANES) % (2u * LANES)], qkv[base + (i + 1u + LANES) % (2u * LANES)]),
    );
}

fn rotated(h: Turning, a: Angles, lane: u32) -> Eight {
    let low = select(h.other.low, -h.other.low, 2u * lane < LANES);
    let high = select(h.other.high, -h.other.high, 2u * lane + 1u < LANES);
    return Eight(
        h.own.low * vec4(a.low0.xz, a.high0.xz) + low * vec4(a.low0.yw, a.high0.yw),
        h.own.high * vec4(a.low1.xz, a.high1.xz) + high * vec4(a.low1.yw, a.high1.yw),
    );
}
