// Tokens in f32 as complex numbers: real parts in the first half, imaginary ones in the second. Refers to the kernel's
// bindings p and x.

// part (0 real, 1 imaginary) of column c of a token; zero beyond the tokens, the columns, and a half that is odd
fn value_at(token: u32, part: u32, c: u32) -> f32 {
    let half = (p.in_features + 1u) / 2u;
    let i = part * half + c;
    if token < p.rows && c < half && i < p.in_features {
        return x[token * p.in_features + i];
    }
    return 0.0;
}
