// Scores and weights of attention by cooperative matrices. The kernel declares HEAD, `tile`, `scores`, `weights` and their
// pitches, `grown`, Queries and stage_queries. Queries are named one by one: indexed by a variable they would live in memory.
// Requires: grown, scores, stage_queries, tile, weights, HEAD, PITCH, PPITCH, Queries, SPITCH
// Provides: coop_scores_queries, coop_scores_tile, coop_scores_seen, coop_scores_largest, coop_scores_any,
//    coop_scores_weigh

// the queries of a subgroup's 16 tokens, 16 columns in each matrix
fn coop_scores_queries(first_row: u32, head: u32, index: u32) -> Queries {
    let source = index / 32u * 16u * PPITCH;
    var q: Queries;
    stage_queries(first_row, head, index, 0u);
    q[0] = coopLoadT<coop_mat16x16<f16, A>>(&weights[source], PPITCH);
    q[1] = coopLoadT<coop_mat16x16<f16, A>>(&weights[source + 4u], PPITCH);
    stage_queries(first_row, head, index, 32u);
    q[2] = coopLoadT<coop_mat16x16<f16, A>>(&weights[source], PPITCH);
    q[3] = coopLoadT<coop_mat16x16<f16, A>>(&weights[source + 4u], PPITCH);
    if HEAD == 128u {
        stage_queries(first_row, head, index, 64u);
        q[4] = coopLoadT<coop_mat16x16<f16, A>>(&weights[source], PPITCH);
        q[5] = coopLoadT<coop_mat16x16<f16, A>>(&weights[source + 4u], PPITCH);
        stage_queries(first_row, head, index, 96u);
        q[6] = coopLoadT<coop_mat16x16<f16, A>>(&weights[source], PPITCH);
        q[7] = coopLoadT<coop_mat16x16<f16, A>>(&weights[source + 4u], PPITCH);
    }
    return q;
}

// a sum, and 16 columns of queries times the same columns of 16 keys
fn coop_scores_add(s: coop_mat16x16<f32, C>, q: coop_mat16x16<f16, A>, source: u32) -> coop_mat16x16<f32, C> {
    let k = coopLoad<coop_mat16x16<f16, B>>(&tile[source], PITCH);
    return coopMultiplyAdd(q, k, s);
}

// scores of 16 queries with the 16 staged keys from `source` on, to `dst`
fn coop_scores_keys(q: ptr<function, Queries>, source: u32, dst: u32) {
    var s: coop_mat16x16<f32, C>;
    s = coop_scores_add(s, (*q)[0], source);
    s = coop_scores_add(s, (*q)[1], source + 4u);
    s = coop_scores_add(s, (*q)[2], source + 8u);
    s = coop_scores_add(s, (*q)[3], source + 12u);
    if HEAD == 128u {
        s = coop_scores_add(s, (*q)[4], source + 16u);
        s = coop_scores_add(s, (*q)[5], source + 20u);
        s = coop_scores_add(s, (*q)[6], source + 24u);
        s = coop_scores_add(s, (*q)[7], source + 28u);
    }
    let sums = s;
    coopStoreT(sums, &scores[dst], SPITCH);
}

// scores of a subgroup's queries with all 32 staged keys
fn coop_scores_tile(q: ptr<function, Queries>, mine: u32) {
    coop_scores_keys(q, 0u, mine * SPITCH);
    coop_scores_keys(q, 16u * PITCH, mine * SPITCH + 4u);
}

// this lane's 16 scores; those from the `count`th on belong to positions that its token does not see
fn coop_scores_seen(first: u32, count: u32) -> mat4x4<f32> {
    let i = vec4(0u, 1u, 2u, 3u);
    let none = vec4(-3e38);
    return mat4x4(
        select(none, scores[first], i < vec4(count)),
        select(none, scores[first + 1u], i + 4u < vec4(count)),
        select(none, scores[first + 2u], i + 8u < vec4(count)),
        select(none, scores[first + 3u], i + 12u < vec4(count)),
    );
}

// the largest of a token's 32 scores, on both of its lanes
fn coop_scores_largest(s: mat4x4<f32>) -> f32 {
    let fours = max(max(s[0], s[1]), max(s[2], s[3]));
    let top = max(max(fours.x, fours.y), max(fours.z, fours.w));
    return max(top, subgroupShuffleXor(top, 16u));
}

// whether `grows` holds anywhere in the workgroup, which all of it learns
fn coop_scores_any(grows: bool, index: u32) -> bool {
    let here = subgroupAny(grows);
    if index % 32u == 0u {
        grown[index / 32u] = u32(here);
    }
    let all = workgroupUniformLoad(&grown);
    return (all[0] | all[1] | all[2] | all[3] | all[4] | all[5] | all[6] | all[7]) != 0u;
}

// writes four weights for the product with the values; their sum
fn coop_scores_weigh_four(s: vec4<f32>, dst: u32, reference: f32) -> f32 {
    // The sum is that of the rounded weights, which are what is multiplied.
    let e = vec4<f16>(exp2(s - reference));
    weights[dst] = e;
    let f = vec4<f32>(e);
    return (f.x + f.y) + (f.z + f.w);
}

// the same for this lane's 16 scores
fn coop_scores_weigh(s: mat4x4<f32>, dst: u32, reference: f32) -> f32 {
    let low = coop_scores_weigh_four(s[0], dst, reference) + coop_scores_weigh_four(s[1], dst + 1u, reference);
    return low + (coop_scores_weigh_four(s[2], dst + 2u, reference) + coop_scores_weigh_four(s[3], dst + 3u, reference));
}
