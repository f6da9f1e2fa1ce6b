// The codes of one packed word, one stage: U, W.
alias Codes = vec2<u32>;

fn term(c: Codes, t: u32) -> u32 {
    return c[t];
}
