// Rows of queries, keys or values in f16 on their way from memory: of one head of one sequence, whose rows begin at `begin`, in
// pieces of eight values.
// Requires: p, qkv, Eights, HEAD, HEAD_DIM, PASSES, WIDTH
// Provides: coop_rows_fetch, coop_rows_head

// Where the rows of a head begin; `column` counts the heads of queries, keys and values.
fn coop_rows_head(seq: u32, column: u32) -> u32 {
    return (seq * p.tokens * (p.heads + 2u * p.kv_heads) + column) * (HEAD_DIM / 8u);
}

// beyond the last row it is that one again, and beyond the head its last eight
fn coop_rows_eight(row: u32, begin: u32, index: u32) -> vec4<u32> {
    let stride = (p.heads + 2u * p.kv_heads) * (HEAD_DIM / 8u);
    return qkv[begin + min(row, p.tokens - 1u) * stride + min(index % (HEAD / 8u), HEAD_DIM / 8u - 1u)];
}

// what an invocation stages of the rows from `first` on
fn coop_rows_fetch(first: u32, begin: u32, index: u32) -> Eights {
    let step = WIDTH / (HEAD / 8u);
    let row = first + index / (HEAD / 8u);
    var eights: Eights;
    eights.a = coop_rows_eight(row, begin, index);
    if PASSES > 1u {
        eights.b = coop_rows_eight(row + step, begin, index);
    }
    if PASSES > 2u {
        eights.c = coop_rows_eight(row + 2u * step, begin, index);
        eights.d = coop_rows_eight(row + 3u * step, begin, index);
    }
    return eights;
}
