// Reading the codes of a row, a word for each term. Refers to the kernel's bindings p and codes; needs planes.wgsl and
// transposed.wgsl.

fn load_codes(row: u32, w: u32) -> WordCodes {
    let at = (row * p.words + w) * TERMS;
    var c: WordCodes;
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
    if TERMS % 4u == 0u {
        return WordCodes(transposed(c.first), transposed(c.second));
    }
    return c;
}
