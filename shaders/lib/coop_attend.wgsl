// Steps of attention by cooperative matrices. Refers to the kernel's keys, scores, weights, their pitches
// and out.

// scores of 16 queries with the staged keys, four tiles of them
fn score(q: ptr<function, array<coop_mat16x16<f16, A>, 8>>, mine: u32) {
    for (var n = 0u; n < 4u; n++) {
        var s: coop_mat16x16<f32, C>;
        for (var d = 0u; d < HEAD / 16u; d++) {
            let k = coopLoad<coop_mat16x16<f16, B>>(&keys[n * 16u * PITCH + d * 4u], PITCH);
            let piece = (*q)[d];
            s = coopMultiplyAdd(piece, k, s);
        }
        let sums = s;
        coopStoreT(sums, &scores[mine * SPITCH + n * 16u], SPITCH);
    }
}

// adds the staged values, weighted
fn add_values(o: ptr<function, array<coop_mat16x16<f32, C>, 8>>, mine: u32) {
    for (var t = 0u; t < 4u; t++) {
        let e = coopLoadT<coop_mat16x16<f16, A>>(&weights[mine * PPITCH + t * 4u], PPITCH);
        for (var d = 0u; d < HEAD / 16u; d++) {
            let v = coopLoadT<coop_mat16x16<f16, B>>(&keys[t * 16u * PITCH + d * 4u], PITCH);
            let before = (*o)[d];
            (*o)[d] = coopMultiplyAdd(e, v, before);
        }
    }
}

// the largest of this lane's 32 scores, of which the first `seen` count
fn largest(at: u32, seen: u32) -> f32 {
    var top = -3e38;
    for (var i = 0u; i < 32u; i++) {
        top = select(top, max(top, scores[at + i]), i < seen);
    }
    return top;
}

// makes weights of this lane's 32 scores; their sum
fn weigh(at: u32, to: u32, seen: u32, top: f32) -> f32 {
    var total = 0.0;
    for (var i = 0u; i < 8u; i++) {
        let j = 4u * i + vec4(0u, 1u, 2u, 3u);
        let s = vec4(scores[at + j.x], scores[at + j.y], scores[at + j.z], scores[at + j.w]);
        // what is summed is what is multiplied
        let e = vec4<f16>(select(vec4(0.0), exp(s - top), j < vec4(seen)));
        weights[to + i] = e;
        let f = vec4<f32>(e);
        total += (f.x + f.y) + (f.z + f.w);
    }
    return total;
}

// half of this lane's row, 32 values of every 64, over `total`: by way of the scores, four tiles at a time
fn write_out(o: ptr<function, array<coop_mat16x16<f32, C>, 8>>, mine: u32, at: u32, to: u32, total: f32, inside: bool) {
    for (var d = 0u; d < HEAD / 16u; d += 4u) {
        workgroupBarrier();
        for (var i = 0u; i < 4u; i++) {
            let sums = (*o)[d + i];
            coopStoreT(sums, &scores[mine * SPITCH + i * 16u], SPITCH);
        }
        workgroupBarrier();
        for (var i = 0u; i < 32u && inside; i++) {
            out[to + d * 16u + i] = scores[at + i] / total;
        }
    }
}
