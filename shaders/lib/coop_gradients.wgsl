// Rows of the gradients of attention outputs in f16 on their way from memory, as coop_rows.wgsl has those of queries; between
// the halves of complex heads lie those of others.
// Requires: d_out, p, Eights, HEAD, HEAD_DIM, PASSES, WIDTH
// Provides: coop_gradients_fetch, coop_gradients_head

// where the rows of a head begin
fn coop_gradients_head(seq: u32, head: u32) -> u32 {
    return seq * p.tokens * p.heads * (HEAD_DIM / 8u) + head * p.out_pitch / 2u;
}

fn coop_gradients_eight(row: u32, begin: u32, index: u32) -> vec4<u32> {
    let eight = min(index % (HEAD / 8u), HEAD_DIM / 8u - 1u);
    let gap = select(0u, p.out_gap / 2u, eight >= HEAD_DIM / 16u);
    return d_out[begin + min(row, p.tokens - 1u) * p.heads * (HEAD_DIM / 8u) + eight + gap];
}

// what an invocation stages of the rows from `first` on
fn coop_gradients_fetch(first: u32, begin: u32, index: u32) -> Eights {
    let step = WIDTH / (HEAD / 8u);
    let row = first + index / (HEAD / 8u);
    var eights: Eights;
    eights.a = coop_gradients_eight(row, begin, index);
    if PASSES > 1u {
        eights.b = coop_gradients_eight(row + step, begin, index);
    }
    if PASSES > 2u {
        eights.c = coop_gradients_eight(row + 2u * step, begin, index);
        eights.d = coop_gradients_eight(row + 3u * step, begin, index);
    }
    return eights;
}
