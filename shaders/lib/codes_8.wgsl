// The codes of 16 columns, eight planes: bytes of the first four, one for each column, two bits a plane, the lowest first; then
// of the others.
// Requires: transposed
// Provides: Codes, codes_word, codes_by_plane

struct Codes {
    a: vec4<u32>,
    b: vec4<u32>,
}

fn codes_word(c: Codes, i: u32) -> u32 {
    if i < 4u {
        return c.a[i];
    }
    return c.b[i - 4u];
}

// The same as a word for each plane.
fn codes_by_plane(c: Codes) -> Codes {
    return Codes(transposed(c.a), transposed(c.b));
}
