// Scaling the sums of a row, and rounding them to its results.
// Requires: absmax, accumulate, accumulate_apart, bits_to_f32, scale_blocks, planes_sums, Added, CONJ, PLANES, Sums, Terms
// Provides: scaled_add, scaled_value

fn scaled_add_plane(acc: Added, s: Sums, total: vec2<i32>, scales: u32, t: u32) -> Added {
    let at = scales + 2u * t;
    let sums = planes_sums(s, total);
    if CONJ == 1u {
        return accumulate_apart(acc, sums, scale_blocks[at], scale_blocks[at + 1u]);
    }
    let all = accumulate(acc.by_re, sums, scale_blocks[at], scale_blocks[at + 1u], 2u * t >= PLANES);
    return Added(all, acc.by_im);
}

// Adds the sums, times their scales, to acc.
fn scaled_add(acc: Added, s: Terms, scales: u32) -> Added {
    var r = scaled_add_plane(acc, s.t0, s.total, scales, 0u);
    if PLANES > 1u {
        r = scaled_add_plane(r, s.t1, s.total, scales, 1u);
    }
    if PLANES > 2u {
        r = scaled_add_plane(r, s.t2, s.total, scales, 2u);
    }
    if PLANES > 3u {
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

// A result of a token from what its inputs add: each half is rounded with its own scale in the conjugate form.
fn scaled_value(by_re: vec2<u32>, by_im: vec2<u32>, token: u32, exponent: i32) -> f32 {
    if CONJ == 1u {
        return bits_to_f32(by_re, absmax[2u * token], exponent) + bits_to_f32(by_im, absmax[2u * token + 1u], exponent);
    }
    return bits_to_f32(by_re, absmax[token], exponent);
}
