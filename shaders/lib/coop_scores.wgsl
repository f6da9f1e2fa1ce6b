// Scores and weights of attention by cooperative matrices. The kernel declares HEAD, `tile`, `scores`, `weights` and their
// pitches, `grown`, Queries, SCORE_SCALE, SHARE and WINDOWED. Queries are named one by one: indexed by a variable they would
// live in memory.
// Requires: coop_stage_queries, grown, scores, softcap_of, tile, weights, HEAD, PITCH, PPITCH, Queries, SCORE_SCALE, SHARE,
//    SPITCH, WINDOWED
// Provides: coop_scores_queries, coop_scores_tile, coop_scores_seen, coop_scores_largest, coop_scores_any,
//    coop_scores_weigh

// the queries of a subgroup's 16 tokens, 16 columns in each matrix
fn coop_scores_queries(first_row: u32, head: u32, index: u32) -> Queries {
    let source = index / 32u * 16u * PPITCH;
    var q: Queries;
    coop_stage_queries(first_row, head, index, 0u);
    q[0] = coopLoadT<coop_mat16x16<f16, A>>(&weights[source], PPITCH);
    q[1] = coopLoadT<coop_mat16x16<f16, A>>(&weights[source + 4u], PPITCH);
    coop_stage_queries(first_row, head, index, 32u);
    q[2] = coopLoadT<coop_mat16x16<f16, A>>(&weights[source], PPITCH);
    q[3] = coopLoadT<coop_mat16x16<f16, A>>(&weights[source + 4u], PPITCH);
    if HEAD >= 128u {
        coop_stage_queries(first_row, head, index, 64u);
        q[4] = coopLoadT<coop_mat16x16<f16, A>>(&weights[source], PPITCH);
        q[5] = coopLoadT<coop_mat16x16<f16, A>>(&weights[source + 4u], PPITCH);
        coop_stage_queries(first_row, head, index, 96u);
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
    if HEAD >= 128u {
        s = coop_scores_add(s, (*q)[4], source + 16u);
        s = coop_scores_add(s, (*q)[5], source + 20u);
        s = coop_scores_add(s, (*q)[6], source + 24u);
        s = coop_scores_add(s, (*q)[7], source + 28u);
    }
    let sums = s;
    coopStoreT(sums, &scores[dst], SPITCH);
}

// scores of a subgroup's queries with all 32 staged keys, from their column `first` on: of shared heads one half of the sum
fn coop_scores_tile(q: ptr<function, Queries>, mine: u32, first: u32) {
    coop_scores_keys(q, first, mine * SPITCH);
    coop_scores_keys(q, first + 16u * PITCH, mine * SPITCH + 4u);
}

// four of a lane's scores, the first of which is its `i`th, as far as they are those of positions that its token sees
fn coop_scores_four(index: u32, other: u32, i: u32, seen: vec2<u32>) -> vec4<f32> {
    var score = scores[index];
    if SHARE == 2u {
        score += scores[other];
    }
    let at = i + vec4(0u, 1u, 2u, 3u);
    var inside = at < vec4(seen.y);
    if WINDOWED {
        inside = inside & (at >= vec4(seen.x));
    }
    return select(vec4(-3e38), softcap_of(score * SCORE_SCALE), inside);
}

// This lane's 16 scores; those before seen.x and from seen.y on belong to positions that its token does not see. From `other`
// on lie the other halves of their sums.
fn coop_scores_seen(first: u32, other: u32, seen: vec2<u32>) -> mat4x4<f32> {
    return mat4x4(
        coop_scores_four(first, other, 0u, seen),
        coop_scores_four(first + 1u, other + 1u, 4u, seen),
        coop_scores_four(first + 2u, other + 2u, 8u, seen),
        coop_scores_four(first + 3u, other + 3u, 12u, seen),
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
