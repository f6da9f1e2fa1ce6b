// Products of the backward pass of attention by cooperative matrices: of a subgroup's 16 rows, 64 columns of them in its
// registers, with KEYS staged rows. SHARE subgroups share their rows; each has other columns. The kernel declares `tile`,
// `scores` [2, 64 rows, SPITCH], `weights` and their pitches, KEYS, SECOND and SHARE. Matrices are named one by one: indexed by
// a variable they would live in memory.
// Requires: scores, tile, weights, KEYS, PITCH, PPITCH, SECOND, SHARE, SPITCH
// Provides: Columns, Sums, coop_pairs_four, coop_pairs_load, coop_pairs_products, coop_pairs_result, coop_pairs_spread,
//    coop_pairs_sum

alias Columns = array<coop_mat16x16<f16, A>, 4>;
alias Sums = array<coop_mat16x16<f32, C>, 4>;

// 16 staged rows as factors
fn coop_pairs_load(source: u32) -> Columns {
    var x: Columns;
    x[0] = coopLoadT<coop_mat16x16<f16, A>>(&tile[source], PITCH);
    x[1] = coopLoadT<coop_mat16x16<f16, A>>(&tile[source + 4u], PITCH);
    x[2] = coopLoadT<coop_mat16x16<f16, A>>(&tile[source + 8u], PITCH);
    x[3] = coopLoadT<coop_mat16x16<f16, A>>(&tile[source + 12u], PITCH);
    return x;
}

fn coop_pairs_add(s: coop_mat16x16<f32, C>, x: coop_mat16x16<f16, A>, source: u32) -> coop_mat16x16<f32, C> {
    let y = coopLoad<coop_mat16x16<f16, B>>(&tile[source], PITCH);
    return coopMultiplyAdd(x, y, s);
}

// products with the 16 staged rows from `source` on, to `dst`
fn coop_pairs_sixteen(x: ptr<function, Columns>, source: u32, dst: u32) {
    var s: coop_mat16x16<f32, C>;
    s = coop_pairs_add(s, (*x)[0], source);
    s = coop_pairs_add(s, (*x)[1], source + 4u);
    s = coop_pairs_add(s, (*x)[2], source + 8u);
    s = coop_pairs_add(s, (*x)[3], source + 12u);
    let sums = s;
    coopStoreT(sums, &scores[dst], SPITCH);
}

// products with all KEYS staged rows
fn coop_pairs_products(x: ptr<function, Columns>, source: u32, dst: u32) {
    coop_pairs_sixteen(x, source, dst);
    if KEYS == 32u {
        coop_pairs_sixteen(x, source + 16u * PITCH, dst + 4u);
    }
}

// Four products of row `row` with the staged rows from 4 * `four` on, of half 0 or 1 of `scores`.
fn coop_pairs_four(half: u32, row: u32, four: u32) -> vec4<f32> {
    let at = half * SECOND + (row / 16u * SHARE * 16u + row % 16u) * SPITCH + four;
    var sum = scores[at];
    if SHARE > 1u {
        sum += scores[at + 16u * SPITCH];
    }
    if SHARE > 2u {
        sum += scores[at + 32u * SPITCH] + scores[at + 48u * SPITCH];
    }
    return sum;
}

fn coop_pairs_weighted(o: coop_mat16x16<f32, C>, e: coop_mat16x16<f16, A>, source: u32) -> coop_mat16x16<f32, C> {
    let y = coopLoadT<coop_mat16x16<f16, B>>(&tile[source], PITCH);
    return coopMultiplyAdd(e, y, o);
}

fn coop_pairs_sum_sixteen(o: ptr<function, Sums>, weight: u32, source: u32) {
    let e = coopLoadT<coop_mat16x16<f16, A>>(&weights[weight], PPITCH);
    (*o)[0] = coop_pairs_weighted((*o)[0], e, source);
    (*o)[1] = coop_pairs_weighted((*o)[1], e, source + 4u);
    (*o)[2] = coop_pairs_weighted((*o)[2], e, source + 8u);
    (*o)[3] = coop_pairs_weighted((*o)[3], e, source + 12u);
}

// adds all KEYS staged rows, weighted
fn coop_pairs_sum(o: ptr<function, Sums>, weight: u32, source: u32) {
    coop_pairs_sum_sixteen(o, weight, source);
    if KEYS == 32u {
        coop_pairs_sum_sixteen(o, weight + 4u, source + 16u * PITCH);
    }
}

// A subgroup's sums to where scores lay: the first 32 columns in half 0, the others in half 1.
fn coop_pairs_spread(o: ptr<function, Sums>, subgroup: u32) {
    let a = (*o)[0];
    let b = (*o)[1];
    let c = (*o)[2];
    let d = (*o)[3];
    let dst = subgroup * 16u * SPITCH;
    workgroupBarrier();
    coopStoreT(a, &scores[dst], SPITCH);
    coopStoreT(b, &scores[dst + 4u], SPITCH);
    coopStoreT(c, &scores[SECOND + dst], SPITCH);
    coopStoreT(d, &scores[SECOND + dst + 4u], SPITCH);
    workgroupBarrier();
}

// four columns of a row of sums that lie there
fn coop_pairs_result(row: u32, four: u32) -> vec4<f32> {
    let subgroup = row / 16u * SHARE + four / 16u;
    return scores[four % 16u / 8u * SECOND + (subgroup * 16u + row % 16u) * SPITCH + four % 8u];
}
