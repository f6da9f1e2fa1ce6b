// Scaling the sums of a row. Refers to the kernel's binding cells; needs planes.wgsl, accumulate.wgsl.

fn scale(acc: vec4<u32>, s: Sums, total: vec2<i32>, scales: u32, t: u32) -> vec4<u32> {
    let at = scales + 2u * t;
    return accumulate(acc, sums_of(s, total), cells[at], cells[at + 1u], 2u * t >= TERMS);
}

// acc plus the sums times their scales
fn flush(acc: vec4<u32>, s: Terms, scales: u32) -> vec4<u32> {
    var r = scale(acc, s.t0, s.total, scales, 0u);
    r = scale(r, s.t1, s.total, scales, 1u);
    if TERMS > 2u {
        r = scale(r, s.t2, s.total, scales, 2u);
        r = scale(r, s.t3, s.total, scales, 3u);
    }
    if TERMS > 4u {
        r = scale(r, s.t4, s.total, scales, 4u);
        r = scale(r, s.t5, s.total, scales, 5u);
    }
    if TERMS > 6u {
        r = scale(r, s.t6, s.total, scales, 6u);
        r = scale(r, s.t7, s.total, scales, 7u);
    }
    return r;
}
