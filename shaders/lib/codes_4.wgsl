// The codes of one packed word, four stages of U, then of W.
struct Codes {
    a: vec4<u32>,
    b: vec4<u32>,
}

fn term(c: Codes, t: u32) -> u32 {
    if t < 4u {
        return c.a[t];
    }
    return c.b[t - 4u];
}
