// The codes of 16 columns, four planes: a byte for each column, two bits a plane, the lowest first.
// Requires: transposed
// Provides: Codes, codes_word, codes_by_plane

alias Codes = vec4<u32>;

fn codes_word(c: Codes, i: u32) -> u32 {
    return c[i];
}

// The same as a word for each plane.
fn codes_by_plane(c: Codes) -> Codes {
    return transposed(c);
}
