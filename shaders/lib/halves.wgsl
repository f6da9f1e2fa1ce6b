// Tokens in f32 as complex numbers: real parts in the first half, imaginary ones in the second.
// Requires: p, x
// Provides: halves_value

// The real (half 0) or imaginary (half 1) part of column c of a token; zero beyond the tokens, beyond the columns, and where
// an odd row lacks the last imaginary part.
fn halves_value(token: u32, part: u32, c: u32) -> f32 {
    let half = (p.in_features + 1u) / 2u;
    let i = part * half + c;
    if token < p.tokens && c < half && i < p.in_features {
        return x[token * p.in_features + i];
    }
    return 0.0;
}
