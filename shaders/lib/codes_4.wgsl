// The codes of 16 columns, four stages: of U a byte a column, two bits a stage, the lowest first; then of W.
struct Codes {
    a: vec4<u32>,
    b: vec4<u32>,
}

fn word(c: Codes, i: u32) -> u32 {
    if i < 4u {
        return c.a[i];
    }
    return c.b[i - 4u];
}

// a word for each term
fn terms_of(c: Codes) -> Codes {
    return Codes(transposed(c.a), transposed(c.b));
}
