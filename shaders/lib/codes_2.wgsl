// The codes of 16 columns, two stages: a byte a column, of which two bits are U's, U's, W's, W's, the lowest first.
alias Codes = vec4<u32>;

fn word(c: Codes, i: u32) -> u32 {
    return c[i];
}

// a word for each term
fn terms_of(c: Codes) -> Codes {
    return transposed(c);
}
