// Rows on their way from memory to `tile`, for kernels with cooperative matrices: heads of HEAD_DIM values with zeros behind
// them up to HEAD. The kernel declares `tile` with rows of PITCH vectors, HEAD, HEAD_DIM, WIDTH and PASSES.
// Requires: quad, tile, HEAD, HEAD_DIM, PASSES, PITCH, WIDTH
// Provides: Eights, coop_stage_eights

// What an invocation stages: eight values each of rows as many apart as the workgroup has at once. PASSES (1, 2 or 4) says how
// many of them are used.
struct Eights {
    a: vec4<u32>,
    b: vec4<u32>,
    c: vec4<u32>,
    d: vec4<u32>,
}

fn coop_stage_put(dst: u32, v: vec4<u32>, inside: bool) {
    let eight = select(vec4(0u), v, inside);
    tile[dst] = quad(eight.x, eight.y);
    tile[dst + 1u] = quad(eight.z, eight.w);
}

// stages rows from row 0 of what begins at `begin` on
fn coop_stage_eights(s: Eights, begin: u32, index: u32) {
    let pieces = HEAD / 8u;
    let dst = begin + index / pieces * PITCH + index % pieces * 2u;
    let step = WIDTH / pieces * PITCH;
    let inside = HEAD == HEAD_DIM || index % pieces < HEAD_DIM / 8u;
    coop_stage_put(dst, s.a, inside);
    if PASSES > 1u {
        coop_stage_put(dst + step, s.b, inside);
    }
    if PASSES > 2u {
        coop_stage_put(dst + 2u * step, s.c, inside);
        coop_stage_put(dst + 3u * step, s.d, inside);
    }
}
