// Reading the codes of a row and scaling its sums. Refers to the kernel's bindings p, codes and cells.

fn load_codes(row: u32, w: u32) -> Codes {
    let at = (row * p.words + w) * TERMS;
    var c: Codes;
    c.first.x = codes[at];
    c.first.y = codes[at + 1u];
    if TERMS > 2u {
        c.first.z = codes[at + 2u];
        c.first.w = codes[at + 3u];
    }
    if TERMS > 4u {
        c.second.x = codes[at + 4u];
        c.second.y = codes[at + 5u];
    }
    if TERMS > 6u {
        c.second.z = codes[at + 6u];
        c.second.w = codes[at + 7u];
    }
    return c;
}

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
