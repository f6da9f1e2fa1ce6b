// Values of the heads of attention in training, in f32, and 0 beyond a sequence or a head.
// Requires: p, qkv
// Provides: KEY, QUERY, VALUE, flash_values_at, flash_values_out, flash_values_row

const QUERY = 0u;
const KEY = 1u;
const VALUE = 2u;

// where a query head's query, or of the key or value that it sees, begins
fn flash_values_row(head: u32, kind: u32, token: u32) -> u32 {
    let kv = head % p.heads / (p.heads / p.kv_heads);
    let column = select(p.heads + (kind - 1u) * p.kv_heads + kv, head % p.heads, kind == QUERY);
    let row = head / p.heads * p.tokens + token;
    return (row * (p.heads + 2u * p.kv_heads) + column) * p.head_dim;
}

// Where value j of a head's output lies; between the halves of complex heads lie those of others.
fn flash_values_out(head: u32, token: u32, j: u32) -> u32 {
    let row = (head / p.heads * p.tokens + token) * p.heads * p.head_dim;
    return row + head % p.heads * p.out_pitch + j + select(0u, p.out_gap, j >= p.head_dim / 2u);
}

// value j of what a query head has of `kind` at a token
fn flash_values_at(head: u32, kind: u32, token: u32, j: u32) -> f32 {
    let inside = token < p.tokens && j < p.head_dim;
    return select(0.0, qkv[select(0u, flash_values_row(head, kind, token) + j, inside)], inside);
}
