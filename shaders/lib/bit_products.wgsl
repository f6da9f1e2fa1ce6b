// Sums of a subgroup by cooperative matrices: four planes by one or two tiles of byte planes, and the results of all.
// Requires: bit_all_scales, bit_gather, bit_load_bits, bit_load_bytes, bit_outputs, bit_put_codes, bit_store,
//    sums, Codes, NB, OWN_RESULTS, Outputs, Own, PITCH_A, PITCH_B, RESULTS, WIDTH
// Provides: Products, Tiles, bit_add_stage, bit_finish

// Of the planes with the first tile, then with the second. Only constants index it, or it would live in memory.
alias Products = array<coop_mat16x16<f32, C>, 8>;

// Indices of a subgroup's tiles.
struct Tiles {
    put: u32, // where an invocation puts its bits
    a: u32,
    b: u32,
}

// Multiplies one stage of a block: two columns of both halves of each word.
fn bit_add_stage(s: ptr<function, Products>, k: u32, at: Tiles, c: Codes) {
    bit_put_codes(at.put, c, k);
    subgroupBarrier();
    let a0 = bit_load_bits(at.a);
    let a1 = bit_load_bits(at.a + 16u * PITCH_A);
    let a2 = bit_load_bits(at.a + 32u * PITCH_A);
    let a3 = bit_load_bits(at.a + 48u * PITCH_A);
    let b0 = bit_load_bytes(at.b + 4u * k);
    (*s)[0] = coopMultiplyAdd(a0, b0, (*s)[0]);
    (*s)[1] = coopMultiplyAdd(a1, b0, (*s)[1]);
    (*s)[2] = coopMultiplyAdd(a2, b0, (*s)[2]);
    (*s)[3] = coopMultiplyAdd(a3, b0, (*s)[3]);
    if NB > 1u {
        let b1 = bit_load_bytes(at.b + 16u * PITCH_B + 4u * k);
        (*s)[4] = coopMultiplyAdd(a0, b1, (*s)[4]);
        (*s)[5] = coopMultiplyAdd(a1, b1, (*s)[5]);
        (*s)[6] = coopMultiplyAdd(a2, b1, (*s)[6]);
        (*s)[7] = coopMultiplyAdd(a3, b1, (*s)[7]);
    }
    subgroupBarrier();
}

// Writes product i to workgroup memory.
fn bit_store_products(s: ptr<function, Products>, i: u32, at: u32) {
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

fn bit_gather_all(own: Own, tile: u32, t: u32, index: u32, m: Own) -> Own {
    var r = own;
    if index < RESULTS {
        r.r0 = bit_gather(own.r0, tile, t, index, m.r0);
    }
    if OWN_RESULTS > 1u && index + WIDTH < RESULTS {
        r.r1 = bit_gather(own.r1, tile, t, index + WIDTH, m.r1);
    }
    if OWN_RESULTS > 2u && index + 2u * WIDTH < RESULTS {
        r.r2 = bit_gather(own.r2, tile, t, index + 2u * WIDTH, m.r2);
    }
    if OWN_RESULTS > 3u && index + 3u * WIDTH < RESULTS {
        r.r3 = bit_gather(own.r3, tile, t, index + 3u * WIDTH, m.r3);
    }
    return r;
}

fn bit_store_all(own: Own, a: Outputs) {
    bit_store(own.r0, a.r0);
    if OWN_RESULTS > 1u {
        bit_store(own.r1, a.r1);
    }
    if OWN_RESULTS > 2u {
        bit_store(own.r2, a.r2);
    }
    if OWN_RESULTS > 3u {
        bit_store(own.r3, a.r3);
    }
}

// Makes the results of all tiles. The outputs of the first one, and the scales of its first plane, are loaded already.
fn bit_finish(
    s: ptr<function, Products>,
    index: u32,
    first_row: u32,
    first_plane: u32,
    first_outputs: Outputs,
    first_scales: Own,
) {
    var outputs = first_outputs;
    var scales = first_scales;
    var own = Own();
    for (var i = 0u; i < 4u * NB; i++) {
        workgroupBarrier();
        bit_store_products(s, i, index / 32u * 256u);
        workgroupBarrier();
        let now = scales;
        // The next tile has the same rows, and so the same scales.
        scales = bit_all_scales(outputs, (i + 1u) % 4u);
        own = bit_gather_all(own, i / 4u, i % 4u, index, now);
        if i % 4u == 3u {
            bit_store_all(own, outputs);
            own = Own();
            if i + 1u < 4u * NB {
                outputs = bit_outputs(index, first_row, first_plane + 16u);
            }
        }
    }
}
