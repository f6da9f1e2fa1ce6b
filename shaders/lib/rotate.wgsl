// Rotation of heads, eight values an invocation. The kernel declares `qkv`, `angles`, p.kv_heads, LANES, the invocations of
// a head, and the overrides ROTATED, an eighth of the values that are rotated, and NEIGHBOURS, which says how they are paired.
// Requires: angles, p, qkv, LANES, NEIGHBOURS, ROTATED
// Provides: Eight, rotate_angles, RotateHead, rotate_other, rotate_load, RotateNewest, rotate_load_newest, rotate

const ROTATE_NONE = mat2x4<f32>(1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0);

struct Eight {
    low: vec4<f32>,
    high: vec4<f32>,
}

// cosines and sines for the eight values of an invocation
struct RotateAngles {
    low: mat2x4<f32>,
    high: mat2x4<f32>,
}

// those for values 4 i to 4 i + 3 of a head
fn rotate_angles_of(position: u32, i: u32) -> mat2x4<f32> {
    if (ROTATED < LANES) & (i >= 2u * ROTATED) {
        return ROTATE_NONE;
    }
    let row = 2u * ROTATED * position;
    if NEIGHBOURS {
        let two = angles[row + i];
        return mat2x4(two.xxzz, two.yyww);
    }
    let first = row + 2u * (i % max(ROTATED, 1u));
    let near = angles[first];
    let far = angles[first + 1u];
    return mat2x4(vec4(near.xz, far.xz), vec4(near.yw, far.yw));
}

fn rotate_angles(position: u32, lane: u32) -> RotateAngles {
    return RotateAngles(rotate_angles_of(position, 2u * lane), rotate_angles_of(position, 2u * lane + 1u));
}

// an invocation's eight values of a head, and those they are paired with, which lie half of the rotated values away
struct RotateHead {
    own: Eight,
    other: Eight,
}

// where in a head the four values lie that values 4 i to 4 i + 3 are paired with
fn rotate_other(i: u32) -> u32 {
    return (i + ROTATED) % max(2u * ROTATED, 1u);
}

fn rotate_load(base: u32, lane: u32) -> RotateHead {
    let i = 2u * lane;
    let own = Eight(qkv[base + i], qkv[base + i + 1u]);
    if NEIGHBOURS | (ROTATED == 0u) {
        return RotateHead(own, own);
    }
    return RotateHead(own, Eight(qkv[base + rotate_other(i)], qkv[base + rotate_other(i + 1u)]));
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
    var low = select(h.other.low, -h.other.low, 2u * lane < ROTATED);
    var high = select(h.other.high, -h.other.high, 2u * lane + 1u < ROTATED);
    if NEIGHBOURS {
        low = h.own.low.yxwz * vec4(-1.0, 1.0, -1.0, 1.0);
        high = h.own.high.yxwz * vec4(-1.0, 1.0, -1.0, 1.0);
    }
    return Eight(h.own.low * a.low[0] + low * a.low[1], h.own.high * a.high[0] + high * a.high[1]);
}
