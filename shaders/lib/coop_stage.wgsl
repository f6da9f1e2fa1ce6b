// What attention by cooperative matrices brings into workgroup memory: heads of HEAD_DIM values with zeros behind them up to
// HEAD. The kernel declares `qkv`, `k_cache`, `v_cache`, `tile`, `weights` and their pitches, HEAD, HEAD_DIM, SHARE, TOKENS,
// VALUES, WIDTH and, in its parameters, `position`, `tokens`, `base`, `heads`, `kv_heads`, `offset` and `scale`.
// Requires: k_cache, p, quad, qkv, ring_place, tile, v_cache, weights, HEAD, HEAD_DIM, PITCH, PPITCH, SHARE, VALUES, WIDTH
// Provides: coop_stage_fetch, coop_stage_keys, coop_stage_queries, coop_stage_values

// Keys or values that an invocation stages: eight each of positions as many apart as the workgroup has at once, which are 32,
// 16 or 8, so that as many of them are used as make 32.
struct Eights {
    a: vec4<u32>,
    b: vec4<u32>,
    c: vec4<u32>,
    d: vec4<u32>,
}

struct Staged {
    k: Eights,
    v: Eights,
}

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
    if SHARE == 1u {
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

fn coop_stage_put(dst: u32, v: vec4<u32>, inside: bool) {
    let eight = select(vec4(0u), v, inside);
    tile[dst] = quad(eight.x, eight.y);
    tile[dst + 1u] = quad(eight.z, eight.w);
}

fn coop_stage_eights(s: Eights, dst: u32, index: u32) {
    let step = WIDTH / (HEAD / 8u) * PITCH;
    let inside = HEAD == HEAD_DIM || index % (HEAD / 8u) < HEAD_DIM / 8u;
    coop_stage_put(dst, s.a, inside);
    if HEAD > 64u {
        coop_stage_put(dst + step, s.b, inside);
    }
    if HEAD > 128u {
        coop_stage_put(dst + 2u * step, s.c, inside);
        coop_stage_put(dst + 3u * step, s.d, inside);
    }
}

// stages keys, and with them their values unless these are to take their place
fn coop_stage_keys(s: Staged, index: u32) {
    let dst = index / (HEAD / 8u) * PITCH + index % (HEAD / 8u) * 2u;
    coop_stage_eights(s.k, dst, index);
    if SHARE == 1u {
        coop_stage_eights(s.v, dst + VALUES, index);
    }
}

// stages values in the place of keys that are used up
fn coop_stage_values(s: Staged, index: u32) {
    if SHARE == 2u {
        coop_stage_eights(s.v, index / (HEAD / 8u) * PITCH + index % (HEAD / 8u) * 2u, index);
    }
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
