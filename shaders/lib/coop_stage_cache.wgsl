// What attention by cooperative matrices reads of caches, and of queries in f32. The kernel declares `qkv`, `k_cache`,
// `v_cache`, `weights` and their pitches, HEAD, HEAD_DIM, PASSES, SHARE, WIDTH and, in its parameters, `position`, `tokens`,
// `base`, `heads`, `kv_heads`, `offset` and `scale`.
// Requires: k_cache, p, qkv, ring_place, v_cache, weights, Eights, HEAD, HEAD_DIM, PASSES, PPITCH, SHARE, Staged, WIDTH
// Provides: coop_stage_fetch, coop_stage_queries

// Where in a cache the eight of position `t` lie; beyond the last position that is seen they are the last one again, and
// beyond the head its last eight.
fn coop_stage_place(t: u32, lap: u32, kv: u32, index: u32) -> u32 {
    let eights = HEAD_DIM / 8u;
    let last = p.position + p.tokens - 1u;
    let eight = min(index % (HEAD / 8u), eights - 1u);
    return ((p.base + ring_place(min(t, last), lap)) * p.kv_heads + kv) * eights + eight;
}

// those of the positions from `start` on, in the lap of the ring that the slot is
fn coop_stage_fetch(start: u32, lap: u32, kv: u32, index: u32) -> Staged {
    let pieces = HEAD / 8u;
    let step = WIDTH / pieces;
    let t = start + index / pieces;
    let a = coop_stage_place(t, lap, kv, index);
    let b = coop_stage_place(t + step, lap, kv, index);
    if PASSES < 4u {
        let none = vec4(0u);
        return Staged(Eights(k_cache[a], k_cache[b], none, none), Eights(v_cache[a], v_cache[b], none, none));
    }
    let c = coop_stage_place(t + 2u * step, lap, kv, index);
    let d = coop_stage_place(t + 3u * step, lap, kv, index);
    return Staged(
        Eights(k_cache[a], k_cache[b], k_cache[c], k_cache[d]),
        Eights(v_cache[a], v_cache[b], v_cache[c], v_cache[d]),
    );
}

// writes 32 columns of every subgroup's queries, scaled, to where its weights will lie later
fn coop_stage_queries(first: u32, head: u32, index: u32, column: u32) {
    workgroupBarrier();
    for (var i = index; i < 1024u; i += WIDTH) {
        let subgroup = i / 128u;
        let token = min(first + subgroup / SHARE * 16u + i / 8u % 16u, p.tokens - 1u);
        let begin = ((p.offset + token) * (p.heads + 2u * p.kv_heads) + head) * (HEAD_DIM / 4u);
        let four = (subgroup % SHARE * 128u + column) / 4u + i % 8u;
        let query = qkv[begin + min(four, HEAD_DIM / 4u - 1u)] * p.scale;
        let inside = HEAD == HEAD_DIM || four < HEAD_DIM / 4u;
        weights[i / 8u * PPITCH + i % 8u] = vec4<f16>(select(vec4(0.0), query, inside));
    }
    workgroupBarrier();
}
