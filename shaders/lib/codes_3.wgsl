// The codes of 16 columns, three planes: a word for each.
// Provides: Codes, codes_word, codes_by_plane

struct Codes {
    a: u32,
    b: u32,
    c: u32,
}

fn codes_word(c: Codes, i: u32) -> u32 {
    switch i {
        case 0u: { return c.a; }
        case 1u: { return c.b; }
        default: { return c.c; }
    }
}

// The same as a word for each plane.
fn codes_by_plane(c: Codes) -> Codes {
    return c;
}
