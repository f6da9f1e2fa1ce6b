// Four rows of a dense matrix times one vector. The kernel declares `p`, `x`, `w` and WIDTH; needs elem.wgsl.

// the value of x at i, zero beyond the row
fn one(base: u32, i: u32) -> f32 {
    if i < p.k {
        return x[base + i];
    }
    return 0.0;
}

// four values of x from `i` on, zero beyond the row: the padding of w must not meet what lies there
fn four(base: u32, i: u32) -> vec4<f32> {
    if i + 3u < p.k {
        let at = base + i;
        return vec4(x[at], x[at + 1u], x[at + 2u], x[at + 3u]);
    }
    return vec4(one(base, i), one(base, i + 1u), one(base, i + 2u), one(base, i + 3u));
}

// this lane's share of the four dot products; `rows` are their first vec4s in w
fn share(lane: u32, base: u32, rows: vec4<u32>) -> vec4<f32> {
    var sums = vec4(0.0);
    for (var i = lane; i < p.stride; i += WIDTH) {
        let a = w[rows.x + i];
        let b = w[rows.y + i];
        let c = w[rows.z + i];
        let d = w[rows.w + i];
        let k = i * elem_count();
        let low = four(base, k);
        sums += vec4(
            dot(elem_low(a), low),
            dot(elem_low(b), low),
            dot(elem_low(c), low),
            dot(elem_low(d), low),
        );
        if ELEM != 0u {
            let high = four(base, k + 4u);
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
