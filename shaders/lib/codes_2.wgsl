// The codes of one packed word, two stages: U, U, W, W.
alias Codes = vec4<u32>;

fn term(c: Codes, t: u32) -> u32 {
    return c[t];
}
