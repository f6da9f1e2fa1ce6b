// RMS norms of heads before they are rotated, eight values an invocation. The kernel declares `q_weight`, `k_weight`, p.eps,
// the override NORMED, LANES, the invocations of a head, and TEAM, a power of two that they are the first of.
// Requires: attend_lane_sums, k_weight, p, q_weight, rotate_other, Eight, LANES, NORMED, RotateHead, TEAM
// Provides: rotate_normed

fn rotate_weight(i: u32, is_key: bool) -> vec4<f32> {
    if is_key {
        return k_weight[i];
    }
    return q_weight[i];
}

// The head normalized, if heads are; the whole team calls it together. Invocations beyond a head hold the last ones' values
// again.
fn rotate_normed(h: RotateHead, index: u32, lane: u32, is_key: bool) -> RotateHead {
    if !NORMED {
        return h;
    }
    let squares = dot(h.own.low, h.own.low) + dot(h.own.high, h.own.high);
    let sum = attend_lane_sums(vec4(select(0.0, squares, index % TEAM < LANES))).x;
    let scale = inverseSqrt(sum / f32(8u * LANES) + p.eps);
    let i = 2u * lane;
    let own = Eight(rotate_weight(i, is_key), rotate_weight(i + 1u, is_key));
    let other = Eight(rotate_weight(rotate_other(i), is_key), rotate_weight(rotate_other(i + 1u), is_key));
    return RotateHead(
        Eight(h.own.low * scale * own.low, h.own.high * scale * own.high),
        Eight(h.other.low * scale * other.low, h.other.high * scale * other.high),
    );
}
