// Scaling the sums of a row.
// Requires: accumulate, scale_blocks, planes_sums, PLANES, Sums, Terms
// Provides: scaled_add

fn scaled_add_plane(acc: vec4<u32>, s: Sums, total: vec2<i32>, scales: u32, t: u32) -> vec4<u32> {
    let at = scales + 2u * t;
    return accumulate(acc, planes_sums(s, total), scale_blocks[at], scale_blocks[at + 1u], 2u * t >= PLANES);
}

// Adds the sums, times their scales, to acc.
fn scaled_add(acc: vec4<u32>, s: Terms, scales: u32) -> vec4<u32> {
    var r = scaled_add_plane(acc, s.t0, s.total, scales, 0u);
    r = scaled_add_plane(r, s.t1, s.total, scales, 1u);
    if PLANES > 2u {
        r = scaled_add_plane(r, s.t2, s.total, scales, 2u);
        r = scaled_add_plane(r, s.t3, s.total, scales, 3u);
    }
    if PLANES > 4u {
        r = scaled_add_plane(r, s.t4, s.total, scales, 4u);
        r = scaled_add_plane(r, s.t5, s.total, scales, 5u);
    }
    if PLANES > 6u {
        r = scaled_add_plane(r, s.t6, s.total, scales, 6u);
        r = scaled_add_plane(r, s.t7, s.total, scales, 7u);
    }
    return r;
}
