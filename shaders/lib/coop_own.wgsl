// A workgroup's own rows in the backward pass of attention: they are staged once, before tiles take their place, and have their
// gradients in the end.
// Requires: coop_pairs_load, coop_pairs_result, coop_pairs_spread, coop_rows_fetch, coop_stage_eights, d_qkv, p, Columns,
//    HEAD_DIM, KEYS, PITCH, ROWS, SHARE, Sums, WIDTH
// Provides: coop_own_load, coop_own_write

// The 16 rows of an invocation's subgroup, its 64 columns of them.
fn coop_own_load(first: u32, begin: u32, index: u32) -> Columns {
    workgroupBarrier();
    coop_stage_eights(coop_rows_fetch(first, begin, index), 0u, index);
    if SHARE == 1u {
        coop_stage_eights(coop_rows_fetch(first + KEYS, begin, index), KEYS * PITCH, index);
    }
    workgroupBarrier();
    return coop_pairs_load(index / 32u / SHARE * 16u * PITCH + index / 32u % SHARE * 16u);
}

// sums of all rows, `factor` times as large, to where the gradient of what begins at `begin` lies
fn coop_own_write(o: ptr<function, Sums>, first: u32, begin: u32, index: u32, factor: f32) {
    coop_pairs_spread(o, index / 32u);
    let stride = (p.heads + 2u * p.kv_heads) * (HEAD_DIM / 4u);
    for (var i = index; i < ROWS * (HEAD_DIM / 4u); i += WIDTH) {
        let row = i / (HEAD_DIM / 4u);
        let four = i % (HEAD_DIM / 4u);
        if first + row < p.tokens {
            d_qkv[begin * 2u + (first + row) * stride + four] = coop_pairs_result(row, four) * factor;
        }
    }
}
