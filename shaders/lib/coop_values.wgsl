// Weighted values of attention by cooperative matrices. The kernel declares HEAD, `tile`, `scores`, `weights` and their
// pitches, VALUES, Sums, `out` and, in its parameters, `out_gap`. Sums are named one by one: indexed by a variable they would
// live in memory.
// Requires: out, p, scores, tile, weights, HEAD, PITCH, PPITCH, SPITCH, Sums, VALUES
// Provides: coop_values_add, coop_values_rescale, coop_values_write

// a sum, and 16 weights times 16 columns of as many values
fn coop_values_add_one(o: coop_mat16x16<f32, C>, e: coop_mat16x16<f16, A>, source: u32) -> coop_mat16x16<f32, C> {
    let v = coopLoadT<coop_mat16x16<f16, B>>(&tile[VALUES + source], PITCH);
    return coopMultiplyAdd(e, v, o);
}

// adds the 16 staged values from `source` on, weighted
fn coop_values_add_sixteen(o: ptr<function, Sums>, weight: u32, source: u32) {
    let e = coopLoadT<coop_mat16x16<f16, A>>(&weights[weight], PPITCH);
    (*o)[0] = coop_values_add_one((*o)[0], e, source);
    (*o)[1] = coop_values_add_one((*o)[1], e, source + 4u);
    (*o)[2] = coop_values_add_one((*o)[2], e, source + 8u);
    (*o)[3] = coop_values_add_one((*o)[3], e, source + 12u);
    if HEAD >= 128u {
        (*o)[4] = coop_values_add_one((*o)[4], e, source + 16u);
        (*o)[5] = coop_values_add_one((*o)[5], e, source + 20u);
        (*o)[6] = coop_values_add_one((*o)[6], e, source + 24u);
        (*o)[7] = coop_values_add_one((*o)[7], e, source + 28u);
    }
}

// adds all 32 staged values, weighted, from their column `first` on
fn coop_values_add(o: ptr<function, Sums>, mine: u32, first: u32) {
    coop_values_add_sixteen(o, mine * PPITCH, first);
    coop_values_add_sixteen(o, mine * PPITCH + 4u, first + 16u * PITCH);
}

// Writes 32 columns of the sums to where scores lie; this lane's 16 of them become `factor` times as large.
fn coop_values_spread(low: coop_mat16x16<f32, C>, high: coop_mat16x16<f32, C>, mine: u32, index: u32, factor: f32) {
    let a = low;
    let b = high;
    workgroupBarrier();
    coopStoreT(a, &scores[mine * SPITCH], SPITCH);
    coopStoreT(b, &scores[mine * SPITCH + 4u], SPITCH);
    workgroupBarrier();
    scores[index] *= factor;
    scores[index + 1u] *= factor;
    scores[index + 2u] *= factor;
    scores[index + 3u] *= factor;
    workgroupBarrier();
}

// 16 of these columns as a matrix again
fn coop_values_gather(source: u32) -> coop_mat16x16<f32, C> {
    return coopLoadT<coop_mat16x16<f32, C>>(&scores[source], SPITCH);
}

// multiplies the sums of every token by its lanes' `factor`
fn coop_values_rescale(o: ptr<function, Sums>, mine: u32, index: u32, factor: f32) {
    let source = mine * SPITCH;
    coop_values_spread((*o)[0], (*o)[1], mine, index, factor);
    (*o)[0] = coop_values_gather(source);
    (*o)[1] = coop_values_gather(source + 4u);
    coop_values_spread((*o)[2], (*o)[3], mine, index, factor);
    (*o)[2] = coop_values_gather(source);
    (*o)[3] = coop_values_gather(source + 4u);
    if HEAD >= 128u {
        coop_values_spread((*o)[4], (*o)[5], mine, index, factor);
        (*o)[4] = coop_values_gather(source);
        (*o)[5] = coop_values_gather(source + 4u);
        coop_values_spread((*o)[6], (*o)[7], mine, index, factor);
        (*o)[6] = coop_values_gather(source);
        (*o)[7] = coop_values_gather(source + 4u);
    }
}

// this lane's 16 of 32 columns, the first `fours` times four of them
fn coop_values_write_columns(index: u32, dst: u32, fours: u32) {
    for (var i = 0u; i < min(fours, 4u); i++) {
        out[dst + i] = scores[index + i];
    }
}

// The sums, `factor` times as large, to where a lane's token has its result, which has room for `fours` times four of them;
// between the halves of a head lie those of others.
fn coop_values_write(o: ptr<function, Sums>, mine: u32, index: u32, dst: u32, factor: f32, fours: u32) {
    coop_values_spread((*o)[0], (*o)[1], mine, index, factor);
    coop_values_write_columns(index, dst, fours);
    coop_values_spread((*o)[2], (*o)[3], mine, index, factor);
    coop_values_write_columns(index, dst + 8u + select(0u, p.out_gap, HEAD == 64u), max(fours, 8u) - 8u);
    if HEAD >= 128u {
        let gap = select(0u, p.out_gap, HEAD == 128u); // of 256 values each half is one subgroup's
        coop_values_spread((*o)[4], (*o)[5], mine, index, factor);
        coop_values_write_columns(index, dst + 16u + gap, max(fours, 16u) - 16u);
        coop_values_spread((*o)[6], (*o)[7], mine, index, factor);
        coop_values_write_columns(index, dst + 24u + gap, max(fours, 24u) - 24u);
    }
}
