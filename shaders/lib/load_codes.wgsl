// Reading the codes of a row, a word for each plane.
// Requires: codes, p, transposed, PLANES, WordCodes
// Provides: load_codes

fn load_codes(row: u32, w: u32) -> WordCodes {
    let at = (row * p.words + w) * PLANES;
    var c: WordCodes;
    c.first.x = codes[at];
    if PLANES > 1u {
        c.first.y = codes[at + 1u];
    }
    if PLANES > 2u {
        c.first.z = codes[at + 2u];
    }
    if PLANES > 3u {
        c.first.w = codes[at + 3u];
    }
    if PLANES > 4u {
        c.second.x = codes[at + 4u];
        c.second.y = codes[at + 5u];
    }
    if PLANES > 6u {
        c.second.z = codes[at + 6u];
        c.second.w = codes[at + 7u];
    }
    if PLANES % 4u == 0u {
        return WordCodes(transposed(c.first), transposed(c.second));
    }
    return c;
}
