// The codes of 16 columns, one plane: a word.
// Provides: Codes, codes_word, codes_by_plane

alias Codes = u32;

fn codes_word(c: Codes, i: u32) -> u32 {
    return c;
}

// The same as a word for each plane.
fn codes_by_plane(c: Codes) -> Codes {
    return c;
}
