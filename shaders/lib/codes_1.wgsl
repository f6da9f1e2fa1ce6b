// The codes of 16 columns, one stage: a word of U, a word of W.
alias Codes = vec2<u32>;

fn word(c: Codes, i: u32) -> u32 {
    return c[i];
}

// a word for each term
fn terms_of(c: Codes) -> Codes {
    return c;
}
