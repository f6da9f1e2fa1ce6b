// Steps of attention by cooperative matrices. Refers to the kernel's tile, scores, weights, their pitches, and out.
// Sums are named one by one: indexed by a variable they would live in memory.

fn queries(first_row: u32, head: u32, index: u32) -> Queries {
    let at = index / 32u * 16u * PPITCH;
    var q: Queries;
    stage_queries(first_row, head, index, 0u);
    q[0] = coopLoadT<coop_mat16x16<f16, A>>(&weights[at], PPITCH);
    q[1] = coopLoadT<coop_mat16x16<f16, A>>(&weights[at + 4u], PPITCH);
    stage_queries(first_row, head, index, 32u);
    q[2] = coopLoadT<coop_mat16x16<f16, A>>(&weights[at], PPITCH);
    q[3] = coopLoadT<coop_mat16x16<f16, A>>(&weights[at + 4u], PPITCH);
    if HEAD == 128u {
        stage_queries(first_row, head, index, 64u);
        q[4] = coopLoadT<coop_mat16x16<f16, A>>(&weights[at], PPITCH);
        q[5] = coopLoadT<coop_mat16x16<f16, A>>(&weights[at + 4u], PPITCH);
        stage_queries(first_row, head, index, 96u);
        q[6] = coopLoadT<coop_mat16x16<f16, A>>(&weights[at], PPITCH);
        q[7] = coopLoadT<coop_mat16x16<f16, A>>(&weights[at + 4u], PPITCH);
    }
    return q;
}

fn add_product(s: coop_mat16x16<f32, C>, q: coop_mat16x16<f16, A>, at: u32) -> coop_mat16x16<f32, C> {
    let k = coopLoad<coop_mat16x16<f16, B>>(&tile[at], PITCH);
    return coopMultiplyAdd(q, k, s);
}

// scores of 16 queries with 16 of the staged keys
fn score_keys(q: ptr<function, Queries>, at: u32, to: u32) {
    var s: coop_mat16x16<f32, C>;
    s = add_product(s, (*q)[0], at);
    s = add_product(s, (*q)[1], at + 4u);
    s = add_product(s, (*q)[2], at + 8u);
    s = add_product(s, (*q)[3], at + 12u);
    if HEAD == 128u {
        s = add_product(s, (*q)[4], at + 16u);
        s = add_product(s, (*q)[5], at + 20u);
        s = add_product(s, (*q)[6], at + 24u);
        s = add_product(s, (*q)[7], at + 28u);
    }
    let sums = s;
    coopStoreT(sums, &scores[to], SPITCH);
}

fn score(q: ptr<function, Queries>, mine: u32) {
    score_keys(q, 0u, mine * SPITCH);
    score_keys(q, 16u * PITCH, mine * SPITCH + 4u);
}

// this lane's 16 scores, of which the first `count` count
fn seen(at: u32, count: u32) -> mat4x4<f32> {
    let i = vec4(0u, 1u, 2u, 3u);
    let none = vec4(-3e38);
    return mat4x4(
        select(none, scores[at], i < vec4(count)),
        select(none, scores[at + 1u], i + 4u < vec4(count)),
        select(none, scores[at + 2u], i + 8u < vec4(count)),
        select(none, scores[at + 3u], i + 12u < vec4(count)),
    );
}

// the largest of a row's 32 scores, on both of its lanes
fn largest(s: mat4x4<f32>) -> f32 {
    let fours = max(max(s[0], s[1]), max(s[2], s[3]));
    let top = max(max(fours.x, fours.y), max(fours.z, fours.w));
    return max(top, subgroupShuffleXor(top, 16u));
}

// whether `grows` holds anywhere in the workgroup, which all of it learns
fn any_grows(grows: bool, index: u32) -> bool {
    let here = subgroupAny(grows);
    if index % 32u == 0u {
        grown[index / 32u] = u32(here);
    }
    let all = workgroupUniformLoad(&grown);
    return (all[0] | all[1] | all[2] | all[3] | all[4] | all[5] | all[6] | all[7]) != 0u;
}

// four weights, put away; their sum
fn weigh_four(s: vec4<f32>, to: u32, reference: f32) -> f32 {
    // what is summed is what is multiplied
    let e = vec4<f16>(exp2(s - reference));
    weights[to] = e;
    let f = vec4<f32>(e);
    return (f.x + f.y) + (f.z + f.w);
}

fn weigh(s: mat4x4<f32>, to: u32, reference: f32) -> f32 {
    let low = weigh_four(s[0], to, reference) + weigh_four(s[1], to + 1u, reference);
    return low + (weigh_four(s[2], to + 2u, reference) + weigh_four(s[3], to + 3u, reference));
}

fn add_value(o: coop_mat16x16<f32, C>, e: coop_mat16x16<f16, A>, at: u32) -> coop_mat16x16<f32, C> {
    let v = coopLoadT<coop_mat16x16<f16, B>>(&tile[VALUES + at], PITCH);
    return coopMultiplyAdd(e, v, o);
}

// adds 16 of the staged values, weighted
fn add_sixteen(o: ptr<function, Sums>, weight: u32, at: u32) {
    let e = coopLoadT<coop_mat16x16<f16, A>>(&weights[weight], PPITCH);
    (*o)[0] = add_value((*o)[0], e, at);
    (*o)[1] = add_value((*o)[1], e, at + 4u);
    (*o)[2] = add_value((*o)[2], e, at + 8u);
    (*o)[3] = add_value((*o)[3], e, at + 12u);
    if HEAD == 128u {
        (*o)[4] = add_value((*o)[4], e, at + 16u);
        (*o)[5] = add_value((*o)[5], e, at + 20u);
        (*o)[6] = add_value((*o)[6], e, at + 24u);
        (*o)[7] = add_value((*o)[7], e, at + 28u);
    }
}

fn add_values(o: ptr<function, Sums>, mine: u32) {
    add_sixteen(o, mine * PPITCH, 0u);
    add_sixteen(o, mine * PPITCH + 4u, 16u * PITCH);
}

// puts 32 columns of the sums where scores lie; this lane's 16 of them become `factor` times as large
fn spread(low: coop_mat16x16<f32, C>, high: coop_mat16x16<f32, C>, mine: u32, at: u32, factor: f32) {
    let a = low;
    let b = high;
    workgroupBarrier();
    coopStoreT(a, &scores[mine * SPITCH], SPITCH);
    coopStoreT(b, &scores[mine * SPITCH + 4u], SPITCH);
    workgroupBarrier();
    scores[at] *= factor;
    scores[at + 1u] *= factor;
    scores[at + 2u] *= factor;
    scores[at + 3u] *= factor;
    workgroupBarrier();
}

fn gathered(at: u32) -> coop_mat16x16<f32, C> {
    return coopLoadT<coop_mat16x16<f32, C>>(&scores[at], SPITCH);
}

fn rescale(o: ptr<function, Sums>, mine: u32, at: u32, factor: f32) {
    let from_at = mine * SPITCH;
    spread((*o)[0], (*o)[1], mine, at, factor);
    (*o)[0] = gathered(from_at);
    (*o)[1] = gathered(from_at + 4u);
    spread((*o)[2], (*o)[3], mine, at, factor);
    (*o)[2] = gathered(from_at);
    (*o)[3] = gathered(from_at + 4u);
    if HEAD == 128u {
        spread((*o)[4], (*o)[5], mine, at, factor);
        (*o)[4] = gathered(from_at);
        (*o)[5] = gathered(from_at + 4u);
        spread((*o)[6], (*o)[7], mine, at, factor);
        (*o)[6] = gathered(from_at);
        (*o)[7] = gathered(from_at + 4u);
    }
}

// this lane's 16 of 32 columns, if its row exists
fn write_columns(at: u32, to: u32, inside: bool) {
    if inside {
        out[to] = scores[at];
        out[to + 1u] = scores[at + 1u];
        out[to + 2u] = scores[at + 2u];
        out[to + 3u] = scores[at + 3u];
    }
}

fn write_out(o: ptr<function, Sums>, mine: u32, at: u32, to: u32, factor: f32, inside: bool) {
    spread((*o)[0], (*o)[1], mine, at, factor);
    write_columns(at, to, inside);
    spread((*o)[2], (*o)[3], mine, at, factor);
    write_columns(at, to + 8u, inside);
    if HEAD == 128u {
        spread((*o)[4], (*o)[5], mine, at, factor);
        write_columns(at, to + 16u, inside);
        spread((*o)[6], (*o)[7], mine, at, factor);
        write_columns(at, to + 24u, inside);
    }
}
