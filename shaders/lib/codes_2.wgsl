// The codes of 16 columns, two planes: a word for each.
// Provides: Codes, codes_word, codes_by_plane

alias Codes = vec2<u32>;

fn codes_word(c: Codes, i: u32) -> u32 {
    return c[i];
}

// The same as a word for each plane.
fn codes_by_plane(c: Codes) -> Codes {
    return c;
}
