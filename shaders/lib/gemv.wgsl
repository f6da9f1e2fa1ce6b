// Four rows of a dense matrix times one vector.
// Requires: elem_count, elem_high, elem_low, p, w, x, ELEM, WIDTH
// Provides: gemv_share

// The value of x at i; zero beyond the row.
fn gemv_value(base: u32, i: u32) -> f32 {
    if i < p.k {
        return x[base + i];
    }
    return 0.0;
}

// Four values of x from i on; zero beyond the row, because the padding of w must not meet what lies there.
fn gemv_values(base: u32, i: u32) -> vec4<f32> {
    if i + 3u < p.k {
        let at = base + i;
        return vec4(x[at], x[at + 1u], x[at + 2u], x[at + 3u]);
    }
    return vec4(gemv_value(base, i), gemv_value(base, i + 1u), gemv_value(base, i + 2u), gemv_value(base, i + 3u));
}

// An invocation's share of the four dot products; `rows` are the indices of their first vec4s in w.
fn gemv_share(lane: u32, base: u32, rows: vec4<u32>) -> vec4<f32> {
    var sums = vec4(0.0);
    for (var i = lane; i < p.stride; i += WIDTH) {
        let a = w[rows.x + i];
        let b = w[rows.y + i];
        let c = w[rows.z + i];
        let d = w[rows.w + i];
        let k = i * elem_count();
        let low = gemv_values(base, k);
        sums += vec4(
            dot(elem_low(a), low),
            dot(elem_low(b), low),
            dot(elem_low(c), low),
            dot(elem_low(d), low),
        );
        if ELEM != 0u {
            let high = gemv_values(base, k + 4u);
            sums += vec4(
                dot(elem_high(a), high),
                dot(elem_high(b), high),
                dot(elem_high(c), high),
                dot(elem_high(d), high),
            );
        }
    }
    return sums;
}
