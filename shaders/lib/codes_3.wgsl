// The codes of 16 columns, three stages: three words of U, three of W.
struct Codes {
    a: vec2<u32>,
    b: vec2<u32>,
    c: vec2<u32>,
}

fn word(c: Codes, i: u32) -> u32 {
    switch i / 2u {
        case 0u: { return c.a[i % 2u]; }
        case 1u: { return c.b[i % 2u]; }
        default: { return c.c[i % 2u]; }
    }
}

// a word for each term
fn terms_of(c: Codes) -> Codes {
    return c;
}
