// Sums of a subgroup by cooperative matrices: four terms by one or two tiles of byte planes. Features bit_tiles.wgsl and
// bit_sums.wgsl; the kernel declares NB.

// of the terms with the first tile, then with the second. Indexed by constants alone, or they live in memory
alias Products = array<coop_mat16x16<f32, C>, 8>;

// where a subgroup has its tiles
struct Tiles {
    put: u32, // place of an invocation's bits
    a: u32,
    b: u32,
}

// two columns of both halves of each word of a block
fn add_stage(s: ptr<function, Products>, k: u32, at: Tiles, c: Codes) {
    put_codes(at.put, c, k);
    subgroupBarrier();
    let a0 = bits(at.a);
    let a1 = bits(at.a + 16u * PITCH_A);
    let a2 = bits(at.a + 32u * PITCH_A);
    let a3 = bits(at.a + 48u * PITCH_A);
    let b0 = bytes(at.b + 4u * k);
    (*s)[0] = coopMultiplyAdd(a0, b0, (*s)[0]);
    (*s)[1] = coopMultiplyAdd(a1, b0, (*s)[1]);
    (*s)[2] = coopMultiplyAdd(a2, b0, (*s)[2]);
    (*s)[3] = coopMultiplyAdd(a3, b0, (*s)[3]);
    if NB > 1u {
        let b1 = bytes(at.b + 16u * PITCH_B + 4u * k);
        (*s)[4] = coopMultiplyAdd(a0, b1, (*s)[4]);
        (*s)[5] = coopMultiplyAdd(a1, b1, (*s)[5]);
        (*s)[6] = coopMultiplyAdd(a2, b1, (*s)[6]);
        (*s)[7] = coopMultiplyAdd(a3, b1, (*s)[7]);
    }
    subgroupBarrier();
}

// all of a block; one by one, because drivers do not unroll a loop around matrices
fn add_block(s: ptr<function, Products>, at: Tiles, c: Codes) {
    add_stage(s, 0u, at, c);
    add_stage(s, 1u, at, c);
    add_stage(s, 2u, at, c);
    add_stage(s, 3u, at, c);
}

// sum i into workgroup memory
fn leave(s: ptr<function, Products>, i: u32, at: u32) {
    switch i {
        case 0u: {
            coopStoreT((*s)[0], &sums[at], 16u);
        }
        case 1u: {
            coopStoreT((*s)[1], &sums[at], 16u);
        }
        case 2u: {
            coopStoreT((*s)[2], &sums[at], 16u);
        }
        case 3u: {
            coopStoreT((*s)[3], &sums[at], 16u);
        }
        case 4u: {
            coopStoreT((*s)[4], &sums[at], 16u);
        }
        case 5u: {
            coopStoreT((*s)[5], &sums[at], 16u);
        }
        case 6u: {
            coopStoreT((*s)[6], &sums[at], 16u);
        }
        default: {
            coopStoreT((*s)[7], &sums[at], 16u);
        }
    }
}

// results of all tiles; the first one's aims, and its first term's scales, are known
fn finish(
    s: ptr<function, Products>,
    index: u32,
    first_row: u32,
    first_plane: u32,
    first_aims: Aims,
    first_scales: Own,
) {
    var aims = first_aims;
    var scales = first_scales;
    var own = Own();
    for (var i = 0u; i < 4u * NB; i++) {
        workgroupBarrier();
        leave(s, i, index / 32u * 256u);
        workgroupBarrier();
        let now = scales;
        // rows and so scales are the same in the next tile
        scales = scales_own(aims, (i + 1u) % 4u);
        own = gather_own(own, i / 4u, i % 4u, index, now);
        if i % 4u == 3u {
            store_own(own, aims);
            own = Own();
            if i + 1u < 4u * NB {
                aims = aim_own(index, first_row, first_plane + 16u);
            }
        }
    }
}
