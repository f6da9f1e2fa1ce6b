// The codes of one packed word, three stages of U, then of W.
struct Codes {
    a: vec2<u32>,
    b: vec2<u32>,
    c: vec2<u32>,
}

fn term(c: Codes, t: u32) -> u32 {
    switch t / 2u {
        case 0u: { return c.a[t % 2u]; }
        case 1u: { return c.b[t % 2u]; }
        default: { return c.c[t % 2u]; }
    }
}
