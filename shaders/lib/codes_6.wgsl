// The codes of 16 columns, six planes: a word for each.
// Provides: Codes, codes_word, codes_by_plane

struct Codes {
    a: vec2<u32>,
    b: vec2<u32>,
    c: vec2<u32>,
}

fn codes_word(c: Codes, i: u32) -> u32 {
    switch i / 2u {
        case 0u: { return c.a[i % 2u]; }
        case 1u: { return c.b[i % 2u]; }
        default: { return c.c[i % 2u]; }
    }
}

// The same as a word for each plane.
fn codes_by_plane(c: Codes) -> Codes {
    return c;
}
